#!/bin/sh
# The soundness test under AddressSanitizer, with our own switch, worn and fixed homes.
set -eu
cd "$(dirname "$0")/.."
exec sh ci/sanitizer.sh address
