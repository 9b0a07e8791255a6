"""The Procfile of a commit: how to build it (``build:``) and how to start it (``web:``)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE = re.compile(r"^(?P<name>[A-Za-z0-9_-]+):\s*(?P<command>\S.*?)\s*$", re.MULTILINE)
_SIMPLE = re.compile(r"^(?!(?:exec|cd|export|set|if|for|while)\b)(?![A-Za-z_]\w*=)[^;&|(){}<>\n]+$")


@dataclass(frozen=True, slots=True)
class Procfile:
    """Shell command lines, ``""`` where there is none."""

    build: str = ""
    web: str = ""


def parse(content: str) -> Procfile:
    """Lines of ``name: command``; others, and the last but one of a name given twice, are ignored."""
    commands = {match["name"]: match["command"] for match in _LINE.finditer(content)}
    return Procfile(build=commands.get("build", ""), web=commands.get("web", ""))


def shell(line: str) -> list[str]:
    """How to run a command line. A simple one replaces the shell, so that signals reach the program itself."""
    return ["sh", "-c", f"exec {line}" if _SIMPLE.match(line) else line]
