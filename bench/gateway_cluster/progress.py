"""How far it is, on a terminal: a line that the next one replaces."""

from __future__ import annotations

import sys


def progress(text: str) -> None:
    """``""`` takes the last one away."""
    if sys.stderr.isatty():
        print(f"\r{text:<79}\r", end="", file=sys.stderr, flush=True)
