"""``python -m bench.cluster [PULL-REQUESTS ...]``: what the operator does with so many pull requests at once.

``KUBERNETES_BINARIES`` names the folder with Kubernetes' programs; ``make bench-cluster`` sets it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.kubernetes import Kubernetes, control_plane

from bench.cluster.crowd import Operated, Run, plain_writes, through_operator
from bench.cluster.footprint import footprint
from bench.cluster.report import show
from bench.cluster.site import Site, site

SIZES = (100, 500)


def main(arguments: Sequence[str]) -> int:
    binaries = os.environ.get("KUBERNETES_BINARIES")
    if not binaries:
        print("there is no Kubernetes to measure on: use `make bench-cluster`", file=sys.stderr)
        return 2
    with (
        tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder,
        control_plane(Path(folder), Path(binaries)) as kubernetes,
    ):
        asyncio.run(_run(kubernetes, Path(folder), [int(each) for each in arguments] or SIZES))
    return 0


async def _run(kubernetes: Kubernetes, folder: Path, sizes: Sequence[int]) -> None:
    async with site(kubernetes, folder) as here:
        for count in sizes:
            rounds = _rounds_of(count)
            print(f"\n== {count} pull requests at once, {rounds} rounds", flush=True)
            show(*await _rounds(here, count, rounds))
        print("\n== footprint", flush=True)
        await footprint(here)


def _rounds_of(count: int) -> int:
    """Fewer where one takes long: most of the time is the controllers', to come to rest in between."""
    return max(1, 300 // count)


async def _rounds(here: Site, count: int, rounds: int) -> tuple[list[Operated], list[Run]]:
    """Whoever was first in one round is second in the next."""
    ours: list[Operated] = []
    plain: list[Run] = []
    for number in range(rounds):
        if number % 2:
            ours.append(await through_operator(here, count))
            plain.append(await plain_writes(here, count))
        else:
            plain.append(await plain_writes(here, count))
            ours.append(await through_operator(here, count))
    return ours, plain


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
