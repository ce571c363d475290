#!/bin/sh
# Miri over what runs on the thread-backed context switch: contexts, stacks' bookkeeping, wait
# words, channels between threads. Needs the nightly toolchain with the components miri and
# rust-src.
set -eu
cd "$(dirname "$0")/.."
if ! cargo +nightly miri --version >/dev/null 2>&1; then
    rustup component add --toolchain nightly miri rust-src >/dev/null 2>&1 || true
fi
if ! cargo +nightly miri setup >/dev/null 2>&1; then
    echo "miri.sh: SKIPPED: no nightly toolchain with miri and rust-src here"
    [ "${GORT_CI_STRICT:-0}" != 1 ] || exit 1
    exit 0
fi
MIRIFLAGS="${MIRIFLAGS--Zmiri-disable-isolation}" cargo +nightly miri test --lib \
    --target-dir "${CARGO_TARGET_DIR:-target}/miri" -- switch:: stack:: os::debug
