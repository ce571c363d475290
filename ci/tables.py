#!/usr/bin/env python3
"""Whether the tables of src/coming_from name every public item of what people come from.

    ci/tables.py [PART..]    parts: std, crossbeam, go; all that this machine has the texts of if none is named

An item is named if its name is in `code` in the left column together with that of its type: in the row, or in a table whose
head is the type. Or its type is there as "the very same" or with "none", which is for all of it. Whether the reason beside it
is a good one only a reader can tell.

The texts: of std the `rust-docs` of a toolchain of the version that the tables are about, of crossbeam-channel the
source that benches/Cargo.toml depends on, of Go that of the toolchain behind `go` (or GOROOT). Unstable and deprecated items
are left out. Exit status 1: something is missing; 2: a part that was asked for has no texts here.
"""

import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def run(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, cwd=HERE, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def names(text):
    """The words that are in `code`."""
    return set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", text))))


def read_table(table):
    """What is named together, and the types that a row has as a whole. A table whose head names a type is about that; else each
    row is for itself, but one that begins with `its` belongs to the row before."""
    with open(f"{HERE}/src/coming_from/{table}.md", encoding="utf-8") as file:
        lines = file.read().splitlines()
    together, whole, head = [], set(), None
    for line, below in zip(lines, lines[1:] + [""]):
        if not line.startswith("|"):
            head = None
        elif below.startswith("|---"):
            head = names(line.split(" | ")[0])
            together.append(set(head))
        elif not line.startswith("|---"):
            theirs, ours = line[2:].split(" | ")[:2]
            of_type = head and any(name[0].isupper() for name in head)
            if of_type or theirs.startswith(("its ", "their ")):
                together[-1] |= names(theirs)
            else:
                together.append(names(theirs))
            if ours.startswith("none") or "the very same" in ours:
                whole |= {path.split("::")[-1] for path in re.findall(r"`([\w:]+)`", theirs)}
    return together, whole


def missing(table, items):
    """Those of `items`, of which each is a path, that the table does not name."""
    together, whole = read_table(table)
    return [path for path in items if path[0] not in whole and not any(set(path) <= some for some in together)]


def std_items(table, module):
    """Types, functions and methods of a module of std, of the Rust that the table is about."""
    with open(f"{HERE}/src/coming_from/{table}.md", encoding="utf-8") as file:
        about = re.search(r"as of Rust (\d+\.\d+)", file.read())[1]
    if f"rustc {about}." not in (run("rustc", "--version") or ""):
        return None
    sysroot = run("rustc", "--print", "sysroot")
    folder = f"{(sysroot or '').strip()}/share/doc/rust/html/std/{module}"
    if not os.path.isdir(folder):
        return None
    items = []
    for page in sorted(os.listdir(folder)):
        kind = re.fullmatch(r"(struct|enum|trait|fn|type|union)\.(\w+)\.html", page)
        if not kind:
            continue
        with open(f"{folder}/{page}", encoding="utf-8") as file:
            text = file.read()
        declared = text.find("</code></pre>", text.find("item-decl"))
        if UNSETTLED.search(text[declared : declared + 400]):
            continue
        items.append((kind[2],))
        begin = text.find('id="implementations"')
        if begin < 0:
            continue
        ends = [at for at in (text.find(f'id="{name}"', begin) for name in ENDS) if at > 0]
        methods = re.split(r'<section id="(?:method|associatedconstant)\.', text[begin : min(ends, default=len(text))])
        for method in methods[1:]:
            name = re.match(r"\w+", method)[0]
            if not UNSETTLED.search(method):
                items.append((kind[2], name))
    return items


UNSETTLED = re.compile(r'class="stab (unstable|deprecated)"')
ENDS = ["deref-methods", "trait-implementations", "synthetic-implementations", "blanket-implementations"]


def crossbeam_items():
    """Types, functions, macros and methods of crossbeam-channel."""
    metadata = run("cargo", "metadata", "--format-version", "1", "--manifest-path", f"{HERE}/benches/Cargo.toml")
    packages = json.loads(metadata)["packages"] if metadata else []
    source = [p["manifest_path"] for p in packages if p["name"] == "crossbeam-channel"]
    if not source:
        return None
    folder = os.path.dirname(source[0]) + "/src"
    exported = set()
    with open(f"{folder}/lib.rs", encoding="utf-8") as file:
        for names in re.findall(r"pub use crate::\{?(.*?)\}?;", re.sub(r"//.*", "", file.read()), flags=re.S):
            exported |= set(re.findall(r"\w+", names))
    items, seen = [], set()
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".rs"):
            continue
        with open(f"{folder}/{name}", encoding="utf-8") as file:
            text = file.read()
        of = None
        for line in text.splitlines():
            if begun := re.match(r"impl\b(?:<.*?>)?\s*(?:.*\bfor\s+)?(\w+)", line):
                of = begun[1] if " for " not in line else None
            elif line.startswith("}"):
                of = None
            elif top := re.match(r"pub (?:const )?(?:fn|struct|enum) (\w+)", line):
                seen.add(top[1])
                items += [(top[1],)] if top[1] in exported else []
            elif (method := re.match(r"    pub (?:const )?fn (\w+)", line)) and of in exported:
                items.append((of, method[1]))
    return items + [("select",), ("select_biased",)]


def go_items(package):
    """Functions, types, methods and variables of one of Go's packages. Constants are those of their types."""
    root = os.environ.get("GOROOT") or (run("go", "env", "GOROOT") or "").strip()
    folder = f"{root}/src/{package}"
    if not root or not os.path.isdir(folder):
        return None
    items = []
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".go") or name.endswith("_test.go"):
            continue
        with open(f"{folder}/{name}", encoding="utf-8") as file:
            text = file.read()
        if text.startswith("//go:build ignore") or "\n//go:build ignore" in text:
            continue
        for of, function in re.findall(r"^func (?:\(\w* ?\*?(\w+)(?:\[.*?\])?\) )?([A-Z]\w*)", text, flags=re.M):
            if not of or of[0].isupper():
                items.append((of, function) if of else (function,))
        items += [(kind,) for kind in re.findall(r"^type ([A-Z]\w*)", text, flags=re.M)]
        items += [(value,) for value in re.findall(r"^var ([A-Z]\w*)", text, flags=re.M)]
    return items


PARTS = {
    "std": [
        ("std_sync", lambda: std_items("std_sync", "sync")),
        ("std_sync", lambda: std_items("std_sync", "sync/mpsc")),
        ("std_net", lambda: std_items("std_net", "net")),
        ("std_net", lambda: std_items("std_net", "os/unix/net")),
        ("std_process", lambda: std_items("std_process", "process")),
        ("std_fs", lambda: std_items("std_fs", "fs")),
    ],
    "crossbeam": [("crossbeam", crossbeam_items)],
    "go": [("go", lambda package=package: go_items(package)) for package in ("context", "sync", "time")],
}


def main():
    status = 0
    for part in sys.argv[1:] or PARTS:
        for table, read in PARTS[part]:
            items = read()
            if items is None:
                print(f"tables.py: {part} is not, or not in the version of the tables, on this machine")
                status = max(status, 2 if sys.argv[1:] else 0)
                break
            lost = missing(table, items)
            print(f"tables.py: {table}.md: {len(items)} items, {len(lost)} missing")
            for path in lost:
                print(f"  {'::'.join(path)}")
            status = 1 if lost else status
    return status


sys.exit(main())
