#!/bin/sh
# What takes long:
#
#   ci/stress.sh messages    a hundred million messages through channels whose ends come and go
#                            (GORT_STRESS_MESSAGES), from a seed (GORT_TEST_SEED)
#   ci/stress.sh operations  ten million random operations of each primitive (GORT_STRESS_OPERATIONS; GORT_STRESS_ONLY=mutex),
#                            with worn homes, and again with fixed ones
#   ci/stress.sh mix         ten minutes of hogs of all kinds beside those who must get on (GORT_STRESS_SECONDS)
#   ci/stress.sh traffic     15 minutes (GORT_STRESS_SECONDS) of connections, datagrams and pipes with faults at random, from a seed;
#                            afterwards nothing is left of any
#   ci/stress.sh descriptors a million descriptors that end under who waits for them
#   ci/stress.sh suite [N]   the tests N times (10) in each of several modes
#   ci/stress.sh             all of it
#
# Stops at the first failure and says where the log is.
set -eu
cd "$(dirname "$0")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
logs=$target/stress
# Seconds for one program of tests/, which else hangs.
limit=600
mkdir -p "$logs"
burner=
trap '[ -z "$burner" ] || kill "$burner"' EXIT

# long NAME PROGRAM TEST: a test that says every few seconds how far it is, and its seed.
long() {
    log=$logs/$1.log
    echo "stress.sh: $1; the log is $log"
    cargo test --release --test "$2" --no-run
    status=0
    {
        cargo test --quiet --release --test "$2" -- --ignored --exact "$3" --nocapture 2>&1 || echo FAILED
    } | tee "$log" | grep -E --line-buffered 'SEED| s: |panicked|FAILED' || status=1
    if [ "$status" != 0 ] || grep -q '^FAILED' "$log"; then
        echo "stress.sh: $1: FAILED, see $log" >&2
        exit 1
    fi
}

messages() {
    long messages channel_random long_stress
}

operations() {
    rm -f "$logs"/operations-*.log
    for program in sync_random primitives_random channel_random select_random; do
        long "operations-$program" "$program" operations
        (
            export GORT_DEBUG=homes=fixed
            long "operations-$program-fixed" "$program" operations
        )
    done
    # Else `GORT_STRESS_ONLY` names nothing that there is.
    if ! cat "$logs"/operations-*.log | grep -q ' operations in '; then
        echo "stress.sh: operations: there were none" >&2
        exit 1
    fi
}

mix() {
    long mix preempt long_mix
}

traffic() {
    # Else glibc's caches, one for each thread, fill for an hour with what is in use by nobody.
    (
        export GLIBC_TUNABLES=glibc.malloc.tcache_count=0
        long traffic faults traffic::long_traffic
    )
}

descriptors() {
    long descriptors faults descriptors_end_a_million_times
}

# The programs of the last build, one a line, by the flags in $@.
programs() {
    cargo test --lib --tests --no-run "$@" 2>&1 | tee "$logs/build.log" | sed -n 's/.*Executable.*(\(.*\))$/\1/p'
}

# mode NAME PREFIX PROGRAMS: all programs once; PREFIX is put in front of each.
mode() {
    begin=$(date +%s)
    for program in $3; do
        log=$logs/$1-$(basename "$program").log
        # shellcheck disable=SC2086 # the prefix is words
        timeout --kill-after=5 "$limit" $2 "$program" >"$log" 2>&1 || {
            status=$?
            echo "stress.sh: $1: $(basename "$program"): FAILED with status $status; the log is $log" >&2
            exit 1
        }
    done
    echo "stress.sh: $1: passed, $(($(date +%s) - begin)) s"
}

suite() {
    debug=$(programs)
    release=$(programs --release)
    corosensei=$(RUSTFLAGS="${RUSTFLAGS-} --cfg gort_force_context=\"corosensei\"" \
        programs --target-dir "$target/corosensei")
    if [ -z "$debug" ] || [ -z "$release" ] || [ -z "$corosensei" ]; then
        echo "stress.sh: the tests were not built, see $logs/build.log" >&2
        exit 1
    fi
    round=0
    while [ "$round" -lt "$1" ]; do
        round=$((round + 1))
        echo "stress.sh: round $round of $1"
        mode debug "" "$debug"
        mode release "" "$release"
        mode one-cpu "taskset -c 0" "$debug"
        mode one-cpu-release "taskset -c 0" "$release"
        while :; do :; done &
        burner=$!
        mode beside-a-burner "" "$release"
        kill "$burner"
        burner=
        mode fixed "env GORT_DEBUG=homes=fixed" "$debug"
        mode fixed-release "env GORT_DEBUG=homes=fixed" "$release"
        mode fallbacks "env GORT_DEBUG=guard=mprotect,pwait2=0,membarrier=0" "$debug"
        mode corosensei "" "$corosensei"
    done
}

case ${1-} in
messages) messages ;;
operations) operations ;;
mix) mix ;;
traffic) traffic ;;
descriptors) descriptors ;;
suite) suite "${2:-10}" ;;
'')
    messages
    operations
    mix
    traffic
    descriptors
    suite 10
    ;;
*)
    echo "stress.sh: messages, operations, mix, traffic, descriptors or suite, not $1" >&2
    exit 2
    ;;
esac
echo "stress.sh: passed"
