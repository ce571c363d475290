#!/bin/sh
# The documentation without a warning: for users, and with private items, so that the doc links in
# the essays are checked as well.
set -eu
cd "$(dirname "$0")/.."

export RUSTDOCFLAGS="${RUSTDOCFLAGS-} -D warnings"
cargo doc --no-deps
# As docs.rs does it.
cargo doc --no-deps --all-features
# In a directory of its own: the one above stays what users see.
cargo doc --no-deps --all-features --document-private-items --target-dir "${CARGO_TARGET_DIR:-target}/private"
echo "docs.sh: passed"
