#!/bin/sh
# The model checks: every protocol sound under every interleaving, and every mutation noticed.
# Arguments choose models and mutations by words in their names; see ci/models/src/main.rs.
set -eu
cd "$(dirname "$0")/.."
RUSTFLAGS="${RUSTFLAGS-} --cfg loom" exec cargo run --quiet --manifest-path ci/models/Cargo.toml \
    --target-dir "${CARGO_TARGET_DIR:-target}/models" -- "$@"
