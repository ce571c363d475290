#!/bin/sh
# A program with `panic = "abort"`, and without debug information, which would bring unwind tables along: it compiles with and without
# tables, runs, and says so when it has to unwind, before it ends by SIGABRT. `RUSTUP_TOOLCHAIN=1.91 ci/abort.sh` does it with a
# compiler that makes no tables there by itself.
set -eu
cd "$(dirname "$0")/.."
# shellcheck disable=SC3045 # not POSIX, but dash, bash and busybox have it
ulimit -c 0

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/abort
program=$target/release/unwinds
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
wrong() {
    echo "abort.sh: $1" >&2
    cat "$log" >&2
    status=1
}

for flags in '' '-C force-unwind-tables=no' '--codegen=force_unwind_tables=n'; do
    RUSTFLAGS="${RUSTFLAGS-} $flags" cargo build --quiet --manifest-path ci/soundness/Cargo.toml --target-dir "$target" --release \
        --config 'profile.release.panic="abort"' --config profile.release.debug=0 --bin unwinds >"$log" 2>&1 || {
        wrong "it does not compile with flags '$flags'"
        continue
    }
    code=0
    timeout --kill-after=5 60 "$program" >"$log" 2>&1 || code=$?
    [ "$code" = 0 ] || wrong "flags '$flags': status $code"
    for case in cancel timeout timeout_of_a_thread end_of_the_runtime; do
        code=0
        timeout --kill-after=5 60 "$program" "$case" >"$log" 2>&1 || code=$?
        { [ "$code" = 134 ] && grep -q '^gort: fatal: .*panic = "abort"' "$log"; } ||
            wrong "flags '$flags': $case: no such report, or status $code"
    done
    echo "abort.sh: flags '$flags': done"
done
[ "$status" != 0 ] || echo "abort.sh: passed"
exit "$status"
