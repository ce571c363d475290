#!/bin/sh
# Some of the tests under ThreadSanitizer, which knows neither our stack switches nor that a thread
# may put on another's thread pointer. So it sees the scheduler and the channels over the thread back
# end, where every coroutine is an OS thread; there a home is not one identity, and the soundness test
# cannot run. It does not know `membarrier` either: both fences are those of a kernel without it.
set -eu
cd "$(dirname "$0")/.."
exec sh ci/sanitizer.sh thread
