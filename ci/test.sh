#!/bin/sh
# The test suite in one of its modes, or in several:
#
#   ci/test.sh default     as users run it: cargo test
#   ci/test.sh release     optimised
#   ci/test.sh fixed       homes are not worn: each coroutine stays on its thread
#   ci/test.sh fallbacks   as on a kernel that has none of the newer system calls
#   ci/test.sh corosensei  the context switch of CPUs without a file in asm/
#   ci/test.sh chaos       preempts, blocks and changes threads all the time (src/sched/chaos.rs)
#   ci/test.sh all         all of these (also without an argument)
#   ci/test.sh fixed --test net --test sched    only these programs
#
# All but the first leave the documentation's examples out.
set -eu
cd "$(dirname "$0")/.."
names='' programs=''
while [ $# -gt 0 ]; do
    case $1 in
    --test) programs="$programs $1 $2" && shift ;;
    -*) programs="$programs $1" ;;
    *) names="$names $1" ;;
    esac
    shift
done
programs=${programs:---lib --tests}

# shellcheck disable=SC2086 # $programs is words
mode() {
    echo "test.sh: $1"
    case $1 in
    default) cargo test ;;
    release) cargo test --release $programs ;;
    fixed) GORT_DEBUG=homes=fixed cargo test $programs ;;
    fallbacks) GORT_DEBUG=guard=mprotect,pwait2=0,membarrier=0,pidfd=0,timerfd=0 cargo test $programs ;;
    corosensei)
        # A target directory of its own, because other flags would rebuild everything each time.
        RUSTFLAGS="${RUSTFLAGS-} --cfg gort_force_context=\"corosensei\"" \
            cargo test $programs --target-dir "${CARGO_TARGET_DIR:-target}/corosensei"
        ;;
    chaos)
        RUSTFLAGS="${RUSTFLAGS-} --cfg gort_chaos" cargo test $programs --target-dir "${CARGO_TARGET_DIR:-target}/chaos"
        ;;
    all) for each in default release fixed fallbacks corosensei chaos; do mode "$each"; done ;;
    *)
        echo "test.sh: no such mode: $1" >&2
        exit 2
        ;;
    esac
}

for name in ${names:-all}; do mode "$name"; done
