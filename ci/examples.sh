#!/bin/sh
# Builds the examples as a user would and runs each to its end, within a time.
set -eu
cd "$(dirname "$0")/.."

# Seconds for one example.
limit=60

cargo build --release --examples
status=0
for source in examples/*.rs examples/*/main.rs; do
    [ -e "$source" ] || continue
    name=$(basename "${source%/main.rs}" .rs)
    begin=$(date +%s)
    code=0
    # Examples that serve for ever end by themselves when they are given this.
    GORT_EXAMPLE_SMOKE=1 timeout --kill-after=5 "$limit" cargo run --quiet --release --example "$name" </dev/null || code=$?
    case $code in
    0) echo "examples.sh: $name: $(($(date +%s) - begin)) s" ;;
    124 | 137) echo "examples.sh: $name: not done after $limit s" >&2 && status=1 ;;
    *) echo "examples.sh: $name: failed with status $code" >&2 && status=1 ;;
    esac
done
[ "$status" != 0 ] || echo "examples.sh: passed"
exit "$status"
