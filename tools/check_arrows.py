#!/usr/bin/env python3
"""Reads the #include lines of src/ and include/ and fails on any arrow that the design does not allow.

usage: check_arrows.py [ROOT]

USES below is the whole list: which modules a module may include directly. What those include is theirs to know, but
may be included too (ckks may speak of base). Within a module everything may include everything; the folders of an
instruction set (src/ring/avx2) belong to their module. include/rfhe/X.h belongs to module X, status.h to base.
rfhe/rfhe.h is for users and for the command only: it includes every public header, so nobody else may include it.
"""
import os
import re
import sys

USES = {
    "base": [],
    "arith": ["base"],
    "ring": ["arith"],
    "ckks": ["ring"],
    "nn": ["base"],
    "onnx": ["nn"],
    "data": ["nn"],
    "paf": ["nn"],
    "method": ["onnx", "data", "paf"],
    "plan": ["nn", "paf", "ckks"],
    "infer": ["plan", "ckks"],
    "search": ["method", "plan"],
    "report": ["base"],
    "cli": ["search", "infer", "report"],
}
PUBLIC = {"status": "base"}  # public headers that are not named after their module
UMBRELLA = "rfhe/rfhe.h"
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')


def reachable(module):
    seen, todo = set(), [module]
    while todo:
        m = todo.pop()
        if m not in seen:
            seen.add(m)
            todo += USES[m]
    return seen


def owner(path):
    """The module of an include path such as "ring/ntt.h" or "rfhe/ckks.h"; None when it has none."""
    parts = path.split("/")
    if parts[0] == "rfhe" and len(parts) == 2:
        name = parts[1].removesuffix(".h")
        return PUBLIC.get(name, name if name in USES else None)
    return parts[0] if len(parts) > 1 and parts[0] in USES else None


def sources(root, top):
    for folder, folders, files in os.walk(os.path.join(root, top)):
        folders.sort()
        for name in sorted(files):
            if name.endswith((".c", ".h")):
                yield os.path.relpath(os.path.join(folder, name), root)


def complaint(root, path, included):
    """What is wrong with this line, or None."""
    is_public = path.startswith("include/")
    inner = path.split("/", 1)[1]
    is_umbrella = inner == UMBRELLA
    module = owner(inner)
    if is_public and not included.startswith("rfhe/"):
        return "a public header may include public headers only"
    if is_umbrella:
        return None
    if module is None:
        return "belongs to no module"
    if included == UMBRELLA:
        return None if module == "cli" else "the umbrella header is for users; include the header you need"
    if "/" not in included:
        beside = os.path.join(root, os.path.dirname(path), included)
        return "write the path from src/" if os.path.exists(beside) else None  # else: generated at build time
    target = owner(included)
    if target is None:
        return f'"{included}" belongs to no module'
    if target not in reachable(module):
        return f"{module} must not know of {target}"
    return None


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    lines = wrong = 0
    for path in [*sources(root, "src"), *sources(root, "include")]:
        with open(os.path.join(root, path), encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                found = INCLUDE.match(line)
                if not found:
                    continue
                lines += 1
                why = complaint(root, path, found.group(1))
                if why:
                    wrong += 1
                    print(f"{path}:{number}: {why}: {line.strip()}")
    print(f"check_arrows: {lines} includes, {wrong} not allowed")
    return 1 if wrong or not lines else 0


sys.exit(main())
