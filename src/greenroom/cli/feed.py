"""A line in the terminal for everything that happens to an environment, while ``up`` and ``demo`` run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from greenroom.cli.printers import short
from greenroom.model.manifest import PR, Manifest, condition_of, name_of, text
from greenroom.model.watch import Scope
from greenroom.runtime.informer import Informers


async def follow(informers: Informers, say: Callable[[str], None]) -> None:
    """``say`` what becomes of each PR object, until cancelled."""

    def changed(old: Manifest | None, new: Manifest | None) -> None:
        before, after = _sentence(old), _sentence(new)
        if after != before:
            say(f"{datetime.now().astimezone():%H:%M:%S}  {name_of(new or old or {}):<20} {after}")

    informers.subscribe(Scope(PR), changed)
    try:
        await asyncio.Event().wait()
    finally:
        say("Stopping every process ...")


def _sentence(pr: Manifest | None) -> str:
    if pr is None:
        return "gone"
    ready = condition_of(pr, "Ready")
    commit = short(text(pr, "spec", "headCommitRef"))
    if text(ready, "status") == "True":
        return f"{commit} ready at {text(pr, 'status', 'url')}"
    return f"{commit} {text(ready, 'reason') or 'created'}: {text(ready, 'message')}".rstrip(": ")
