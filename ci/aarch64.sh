#!/bin/sh
# The aarch64 switch: compiles src/switch and its tests alone for aarch64 and runs them under
# user-mode emulation. Needs Debian and root, to install the cross tools; says so and ends well
# where they are missing. GORT_CI_STRICT=1 makes that a failure.
#
# A second thread hangs under this emulation, and the usual test harness always starts one. So the
# tests run in a harness of our own, on the main thread (it needs an unstable feature, which
# RUSTC_BOOTSTRAP lets a stable compiler use), and those that start threads or need other crates
# are left out (`gort_bare`).
set -eu
cd "$(dirname "$0")/.."

skip() {
    echo "aarch64.sh: SKIPPED: $1"
    [ "${GORT_CI_STRICT:-0}" != 1 ] || exit 1
    exit 0
}

target=aarch64-unknown-linux-gnu
rustc=/usr/bin/rustc
gcc=aarch64-linux-gnu-gcc
root=/usr/aarch64-linux-gnu

std_is_there() {
    [ -x "$rustc" ] && ls "$("$rustc" --print sysroot)/lib/rustlib/$target/lib/"libstd-*.rlib >/dev/null 2>&1
}

if ! { std_is_there && command -v "$gcc" && command -v qemu-aarch64 && [ -e "$root/lib/crt1.o" ]; } >/dev/null; then
    [ -e /etc/debian_version ] || skip "not on Debian"
    [ "$(id -u)" = 0 ] || skip "installing the cross tools needs root"
    dpkg --add-architecture arm64
    apt-get update -q || skip "no package lists"
    apt-get install -q -y --no-install-recommends \
        rustc-web libstd-rust-web-dev:arm64 gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user ||
        skip "the cross tools cannot be installed"
fi
std_is_there || skip "$rustc has no standard library for $target"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
cat >"$work/bare.rs" <<END
#![feature(custom_test_frameworks, test)]
#![test_runner(run)]
#![allow(dead_code, unused_imports)]
extern crate test;
#[path = "$PWD/src/switch/mod.rs"]
mod switch;
fn run(tests: &[&test::TestDescAndFn]) {
    for test in tests {
        if let (false, test::StaticTestFn(function)) = (test.desc.ignore, &test.testfn) {
            println!("test {} ...", test.desc.name);
            function().unwrap();
        }
    }
    println!("{} tests passed", tests.len());
}
END

status=0
for level in 0 2; do
    RUSTC_BOOTSTRAP=1 "$rustc" --test --edition 2024 --target "$target" -C "linker=$gcc" -C "opt-level=$level" -g \
        --cfg 'gort_context="asm"' --cfg gort_bare -A unexpected_cfgs \
        -o "$work/bare-$level" "$work/bare.rs"
    timeout 120 qemu-aarch64 -L "$root" "$work/bare-$level" || status=1
done
[ "$status" = 0 ] && echo "aarch64.sh: passed"
exit "$status"
