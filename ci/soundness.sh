#!/bin/sh
# The soundness test of the homes under each allocator, with worn and with fixed homes, in debug
# and in release builds, as a program and inside a shared library that a program loads:
#
#   ci/soundness.sh                      all of it, a few seconds each
#   ci/soundness.sh mimalloc release ..  only what has all these words in its name
#   GORT_TEST_FACTOR=20 ci/soundness.sh  twenty times as long
#
# Prints a line of figures for each. Ends with 1 if a promise was broken in one of them.
set -eu
cd "$(dirname "$0")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/soundness
# Seconds for one of them.
limit=$((60 * ${GORT_TEST_FACTOR:-1}))
# The word of gort's that finds the M is reached as thread-locals of a program are. So all thread-locals
# of a shared library with gort in it come out of the room that glibc keeps for libraries loaded late,
# 1.6 KB. jemalloc's are larger; a program that loads it must ask for more room before it starts.
tls=glibc.rtld.optional_static_tls=8192
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0

# Whether all words in $2.. are in the name $1.
is_chosen() {
    name=$1
    shift
    for word in "$@"; do
        case " $name " in *" $word "*) ;; *) return 1 ;; esac
    done
}

# one NAME HOMES COMMAND..
one() {
    name=$1 homes=$2
    shift 2
    code=0
    GORT_DEBUG=$homes timeout --kill-after=5 "$limit" "$@" >"$log" 2>&1 || code=$?
    # A line of figures for each thread that called it; the rest, seeds and messages, is for failures.
    if [ "$code" = 0 ] && grep -q ' counted, ' "$log"; then
        grep ' counted, ' "$log" | sed "s|^|soundness.sh: $name: |"
    else
        cat "$log"
        echo "soundness.sh: $name: FAILED with status $code" >&2
        status=1
    fi
}

for allocator in glibc mimalloc jemalloc; do
    for profile in debug release; do
        runs=
        for homes in worn fixed; do
            for form in executable cdylib; do
                is_chosen "$allocator $homes $profile $form" "$@" && runs="$runs $homes,$form"
            done
        done
        [ -n "$runs" ] || continue
        flags=
        [ "$profile" = debug ] || flags=--release
        [ "$allocator" = glibc ] || flags="$flags --features $allocator"
        # shellcheck disable=SC2086 # flags are words
        cargo build --quiet --manifest-path ci/soundness/Cargo.toml --target-dir "$target" --bins --lib --examples $flags
        for run in $runs; do
            homes=${run%,*} form=${run#*,}
            case $homes in worn) debug= ;; *) debug=homes=fixed ;; esac
            bin=$target/$profile
            library=$bin/examples/libthread_locals.so
            if [ "$form" = executable ]; then
                one "$allocator $homes $profile $form" "$debug" "$bin/soundness" "$library"
            else
                one "$allocator $homes $profile $form" "$debug" \
                    env GLIBC_TUNABLES="$tls" "$bin/host" "$bin/libgort_soundness.so" "$library"
            fi
        done
    done
done
[ "$status" != 0 ] || echo "soundness.sh: passed"
exit "$status"
