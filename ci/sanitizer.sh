#!/bin/sh
# Tests under a sanitizer of LLVM: see ci/tsan.sh and ci/asan.sh, which call this.
#
#   ci/sanitizer.sh thread|address
set -eu
cd "$(dirname "$0")/.."

kind=$1
name=sanitizer.sh
host=x86_64-unknown-linux-gnu
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/$kind-sanitizer
skipped() {
    echo "$name: $kind: SKIPPED: $1"
    [ "${GORT_CI_STRICT:-0}" != 1 ] || exit 1
    exit 0
}

[ "$(uname -m)" = x86_64 ] || skipped "only tried on x86-64"
cargo +nightly --version >/dev/null 2>&1 || skipped "no nightly toolchain here"
[ -e "$(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library/std" ] ||
    rustup component add --toolchain nightly rust-src >/dev/null 2>&1 ||
    skipped "the nightly toolchain has no rust-src, and std must be built with the sanitizer too"

flags="-Zsanitizer=$kind"
# Frames that a panic unwinds stay marked: the marks are cleared by the bounds of the thread's own stack,
# which a coroutine's is not. So frames are not marked at all; the heap and the rest are checked.
[ "$kind" = thread ] || flags="$flags -Cllvm-args=-asan-stack=0"
[ "$kind" = address ] || flags="$flags --cfg gort_force_context=\"thread\""
# The host is named as the target, so that build scripts are built without the sanitizer.
# build COMMAND..: prints the programs that were built, one a line.
build() {
    RUSTFLAGS="${RUSTFLAGS-} $flags" cargo +nightly "$@" -Zbuild-std --target "$host" --target-dir "$target" \
        --manifest-path ci/soundness/Cargo.toml 2>&1 | tee "$log" | sed -n 's/.*Executable.*(\(.*\))$/\1/p'
    grep -q 'Finished' "$log" || {
        cat "$log" >&2
        exit 1
    }
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
# one DEBUG PROGRAM. The search for leaks at the end would not find what lies on coroutines' stacks.
one() {
    echo "$name: $kind: GORT_DEBUG=$1 $(basename "$2")"
    # Room for a test with large values: a coroutine of the thread back end has a thread's stack.
    GORT_DEBUG=$1 RUST_MIN_STACK=16777216 \
        TSAN_OPTIONS="halt_on_error=1 die_after_fork=0 ${TSAN_OPTIONS-}" \
        ASAN_OPTIONS="detect_stack_use_after_return=0 detect_leaks=0 ${ASAN_OPTIONS-}" \
        timeout --kill-after=5 "$((200 * ${GORT_TEST_FACTOR:-1}))" "$2" >"$log" 2>&1 || {
        status=1
        grep -Ev '^test .* ok$' "$log"
    }
}
case $kind in
address)
    build build --bin soundness
    one homes=worn "$target/$host/debug/soundness"
    one homes=fixed "$target/$host/debug/soundness"
    ;;
thread)
    programs=$(build test --no-run --test channel_random --test sched --test cancel --test scope)
    [ -n "$programs" ] || exit 1
    for program in $programs; do one homes=fixed,membarrier=0 "$program"; done
    ;;
esac
[ "$status" != 0 ] || echo "$name: $kind: passed"
exit "$status"
