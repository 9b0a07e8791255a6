"""``python -m bench.gateway_cluster [HOSTS ...]``: how the gateway does with so many hosts.

``KUBERNETES_BINARIES`` names the folder with Kubernetes' programs, ``BACKEND_ADDRESS`` an address of this machine that
is no loopback address. ``make bench-gateway`` sets both, in a network that reaches no other machine.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.kubernetes import Kubernetes, control_plane

from bench.gateway_cluster.adding import measured
from bench.gateway_cluster.report import show_compared, show_size
from bench.gateway_cluster.site import Site, gateway, site
from bench.gateway_cluster.throughput import compared

SIZES = (100, 1000, 5000)
COMPARED_AT = 1000
"""Throughput is measured at the size next to this."""


def main(arguments: Sequence[str]) -> int:
    binaries, address = os.environ.get("KUBERNETES_BINARIES"), os.environ.get("BACKEND_ADDRESS")
    if not binaries or not address:
        print("there is no Kubernetes to measure on: use `make bench-gateway`", file=sys.stderr)
        return 2
    try:
        _measure_at(Path(binaries), address, sorted(map(int, arguments)) or SIZES)
    except KeyboardInterrupt:
        return 130
    return 0


def _measure_at(binaries: Path, address: str, sizes: Sequence[int]) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder,
        control_plane(Path(folder), binaries) as kubernetes,
    ):
        asyncio.run(_run(kubernetes, Path(folder), address, sizes))


async def _run(kubernetes: Kubernetes, folder: Path, address: str, sizes: Sequence[int]) -> None:
    compared_at = min(sizes, key=lambda size: abs(size - COMPARED_AT))
    async with site(kubernetes, folder, address) as here:
        for size in sizes:
            print(f"\n== {size} hosts", flush=True)
            await here.grow(size)
            await _measure(here, size, compares=size == compared_at)


async def _measure(site: Site, size: int, *, compares: bool) -> None:
    begun = time.perf_counter()
    async with gateway(site) as running:
        show_size(await measured(site, running, begun))
        if compares:
            print(f"\n== throughput with {size} hosts", flush=True)
            show_compared(await compared(site, running, size))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
