"""``python -m bench.gateway_cluster.control_plane KUBECONFIG``: the gateway's control plane, and nothing else.

Prints the address where Envoy finds it, and runs until it is ended.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from greenroom.adapters import kubeconfig
from greenroom.adapters.ads import AdsServer
from greenroom.adapters.kube import KubeCluster
from greenroom.app.lifecycle import SystemClock, background, collect_seldom
from greenroom.flows.route import Routes
from greenroom.runtime.informer import Informers


async def run(config: Path) -> None:
    async with KubeCluster(kubeconfig.load(config)) as cluster, AdsServer() as ads:
        informers = Informers(cluster)
        routes = Routes(cluster, informers, ads, SystemClock())
        print(ads.address, flush=True)
        async with background(informers.run, routes.run):
            await asyncio.Event().wait()


if __name__ == "__main__":
    collect_seldom()
    asyncio.run(run(Path(sys.argv[1])))
