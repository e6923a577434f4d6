#!/usr/bin/env python3
"""Writes arl_sandbox/_sync from arl_sandbox/_async, so that there is one implementation. `--check`: only says whether it is up to date."""

import re
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent / "arl_sandbox"
FILES = ["client.py", "commands.py", "files.py", "handle.py", "sandbox.py"]
RULES = [
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAsync(Client|CommandHandle|Commands|Files|Sandbox)\b", r"\1"),
    (r"\bAsyncIterator\b", "Iterator"),
    (r" \| AsyncIterable\[bytes\]|\bAsyncIterable, ", ""),
    (r"\bAwaitable\[R\]", "R"),
    (r"\bAwaitable, ", ""),
    (r"__a(enter|exit|iter)__", r"__\1__"),
]


def sync(text: str) -> str:
    """The sync face of a module."""
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text)
    return text


def main() -> int:
    """Writes, or compares."""
    old = []
    for name in FILES:
        made = sync((PACKAGE / "_async" / name).read_text())
        target = PACKAGE / "_sync" / name
        if "--check" in sys.argv:
            old += [name] if not target.exists() or target.read_text() != made else []
        else:
            target.write_text(made)
    if old:
        print(f"arl_sandbox/_sync is not what make_sync.py makes: {', '.join(old)}")
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main())
