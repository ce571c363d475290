#!/usr/bin/env bash
# Runs the benchmarks of this folder, rivals included, and prints a table of ratios. Takes a few
# minutes, most of which is compiling. Give names of benchmarks to run only those; `--table` only
# prints the table of the last run.
#   benches/compare.sh [--table] [switch] [spawn] ...
set -euo pipefail
cd "$(dirname "$0")/.."

run=1
if [ "${1:-}" = --table ]; then
    run=0
    shift
fi
names=("$@")
[ "${#names[@]}" -gt 0 ] || names=(switch spawn pingpong channel steal echo timers)

# Absolute, because criterion takes it from another folder than cargo does.
target=$(realpath -m "${CARGO_TARGET_DIR:-benches/target}")
export CARGO_TARGET_DIR=$target
if [ "$run" = 1 ]; then
    args=()
    for name in "${names[@]}"; do
        args+=(--bench "$name")
    done
    # Only this run's figures are to be in the table.
    rm -rf "$target/criterion"
    cargo bench --manifest-path benches/Cargo.toml "${args[@]}" -- --noplot >&2
fi

exec python3 - "$target/criterion" <<'PYTHON'
import json, pathlib, sys

def pretty(ns):
    for unit, size in (("ns", 1), ("µs", 1e3), ("ms", 1e6)):
        if ns < 1000 * size:
            break
    return f"{ns / size:.3g} {unit}"

root = pathlib.Path(sys.argv[1])
groups = {}
for path in root.glob("*/*/new/estimates.json"):
    about = json.loads((path.parent / "benchmark.json").read_text())
    median = json.loads(path.read_text())["median"]
    units = (about["throughput"] or {}).get("Elements", 1)
    ns = median["point_estimate"] / units
    low, high = (median["confidence_interval"][bound] / units for bound in ("lower_bound", "upper_bound"))
    groups.setdefault(about["group_id"], {})[about["function_id"]] = (ns, low, high)
if not groups:
    sys.exit(f"no results under {root}")
print(f"{'benchmark':<20} {'who':<18} {'median':>10}   {'95 % interval':<22} {'to gort':>8}")
for name, entries in sorted(groups.items()):
    ours = entries.get("gort", (None,))[0]
    for who, (ns, low, high) in sorted(entries.items(), key=lambda item: (item[0] != "gort", item[1])):
        ratio = f"{ns / ours:.2f}" if ours else "-"
        print(f"{name:<20} {who:<18} {pretty(ns):>10}   {pretty(low) + ' to ' + pretty(high):<22} {ratio:>8}")
        name = ""
PYTHON
