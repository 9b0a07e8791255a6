"""``greenroom serve`` as its users run it: several processes, killed and cut off, against a real API server."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import aiohttp
import msgspec
import pytest
import yaml
from tests.cluster.kubernetes import Kubernetes
from tests.contract.suite import MANAGER, eventually, exists, version_of

from greenroom.adapters.kube import KubeCluster
from greenroom.app.forge import Webhook
from greenroom.local.forge import payload
from greenroom.model.errors import GreenroomError
from greenroom.model.manifest import (
    CONFIG_MAP,
    DEPLOYMENT,
    EVENT,
    PR,
    REVIEW_APP,
    Json,
    Manifest,
    Ref,
    condition_of,
    get,
    ref_of,
    text,
    uid_of,
)
from greenroom.model.mesh import GATEWAY_ROUTE
from greenroom.runtime.leader import LEASE

SECRET = "a secret of this test"
A, B = "a" * 40, "b" * 40
NAME = "pr{{PR_NUMBER}}"


def config_map() -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "data": {"commit": "{{COMMIT_REF}}"}}


def gateway_route() -> Manifest:
    target: Json = {"virtualService": {"virtualServiceRef": {"name": NAME}}}
    route: Json = {
        "match": {"prefix": "/", "hostname": {"exact": f"{NAME}.example.com"}},
        "action": {"target": target},
    }
    kind: Manifest = {"apiVersion": GATEWAY_ROUTE.api_version, "kind": GATEWAY_ROUTE.name}
    return {**kind, "metadata": {"name": NAME}, "spec": {"httpRoute": route}}


def deployment(**labels: str) -> Manifest:
    """Of no replicas: without a node, it is ready only so."""
    selected: Manifest = {"app": NAME, **labels}
    container: Manifest = {"name": "app", "image": "registry.invalid/shop:{{COMMIT_REF}}"}
    template: Manifest = {"metadata": {"labels": selected}, "spec": {"containers": [container]}}
    spec: Manifest = {"replicas": 0, "selector": {"matchLabels": selected}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME}, "spec": spec}


class Replica:
    """A process of the operator."""

    def __init__(self, process: asyncio.subprocess.Process, ports: Mapping[str, int], log: Path) -> None:
        self.process = process
        self._ports = ports
        self._log = log

    async def deliver(self, repository: str, action: str, number: int, head: str, minute: int) -> None:
        """Send a webhook. Raises GreenroomError when it is not answered with 2xx."""
        content = payload(
            action,
            html_url=repository,
            number=number,
            title="a title",
            branch="a-branch",
            head=head,
            state="closed" if action == "closed" else "open",
            updated_at=f"2026-01-31T12:{minute:02}:00Z",
            before="",
        )
        webhook = Webhook(f"http://127.0.0.1:{self._ports['webhook']}/webhooks", SECRET.encode())
        await webhook.deliver("pull_request", msgspec.json.encode(content))

    async def probe(self, path: str) -> int:
        return (await self._get("health", path))[0]

    async def is_ready(self) -> bool:
        return await self.probe("/readyz") == 200

    async def leads(self) -> bool:
        return await self.metric("greenroom_leader") == 1

    async def metric(self, series: str) -> float:
        """The value of a series, as ``name{label="value"}``; 0 when there is none yet."""
        _, page = await self._get("metrics", "/metrics")
        found = re.search(rf"^{re.escape(series)} (\S+)$", page, re.MULTILINE)
        return float(found[1]) if found else 0.0

    async def environment_writes(self) -> float:
        """Writes of the leader's: to the objects of environments."""
        series = (
            f'greenroom_api_writes_total{{kind="{kind}",result="ok",verb="apply"}}' for kind in (CONFIG_MAP, EVENT)
        )
        return sum([await self.metric(each) for each in series])

    async def end(self, how: signal.Signals) -> int:
        if self.process.returncode is None:
            self.process.send_signal(how)
        return await self.process.wait()

    def said(self) -> list[Mapping[str, Json]]:
        return [msgspec.json.decode(line, type=dict) for line in self._log.read_bytes().splitlines()]

    async def _get(self, port: str, path: str) -> tuple[int, str]:
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self._ports[port]}{path}") as answer,
            ):
                return answer.status, await answer.text()
        except aiohttp.ClientError:
            return 0, ""


class Installation:
    """A namespace with a ReviewApp, its lease, and the operator's replicas."""

    def __init__(self, cluster: KubeCluster, namespace: str, folder: Path, kubernetes: Kubernetes) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.repository = f"https://github.com/acme/{namespace}"
        self._folder = folder
        config = yaml.safe_load(kubernetes.kubeconfig.read_text())
        config["contexts"][0]["context"]["namespace"] = namespace
        self._kubeconfig = folder / "kubeconfig"
        self._kubeconfig.write_text(yaml.safe_dump(config))
        self._secret = folder / "secret"
        self._secret.write_text(f"{SECRET}\n")

    async def template(self, *resources: Json) -> None:
        metadata: Json = {"name": "shop", "namespace": self.namespace}
        spec: Json = {"githubRepository": self.repository, "resources": resources}
        app: Manifest = {
            "apiVersion": REVIEW_APP.api_version,
            "kind": REVIEW_APP.name,
            "metadata": metadata,
            "spec": spec,
        }
        await self.cluster.apply(app, manager=MANAGER)

    @asynccontextmanager
    async def replica(self, *, ready: bool = True) -> AsyncIterator[Replica]:
        ports = dict(zip(("webhook", "metrics", "health"), free_ports(3), strict=True))
        log = self._folder / f"{uuid4()}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(".venv/bin/greenroom", "serve", "--kubeconfig", str(self._kubeconfig)),
                *("--namespace", self.namespace, "--webhook-secret-file", str(self._secret)),
                *("--address", "127.0.0.1"),
                *(f"--{name}-port={port}" for name, port in ports.items()),
                stdout=output,
                stderr=output,
            )
        replica = Replica(process, ports, log)
        try:
            if ready:
                await eventually("the replica is ready", replica.is_ready)
            yield replica
        finally:
            await replica.end(signal.SIGKILL)

    @asynccontextmanager
    async def pair(self) -> AsyncIterator[tuple[Replica, Replica]]:
        """The replica that leads, and the other one."""
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(self.replica())
            await eventually("the first leads", one.leads)
            yield one, await stack.enter_async_context(self.replica())

    async def shows(self, number: int, commit: str = A) -> bool:
        """Whether the environment is ready, with this commit."""
        ref = Ref(PR, self.namespace, f"shop-pr{number}")
        if not await exists(self.cluster, ref):
            return False
        pr = await self.cluster.get(ref)
        return text(condition_of(pr, "Ready"), "status") == "True" and text(pr, "status", "commit") == commit

    async def versions(self) -> dict[Ref, str]:
        """Of everything that the operator writes, but its lease."""
        found: dict[Ref, str] = {}
        for kind in (PR, REVIEW_APP, CONFIG_MAP, GATEWAY_ROUTE, EVENT):
            for item in (await self.cluster.list(kind, namespace=self.namespace)).items:
                found[ref_of(item)] = version_of(item)
        return found

    async def holder(self) -> str:
        return text(await self.cluster.get(Ref(LEASE, self.namespace, "greenroom")), "spec", "holderIdentity")


def free_ports(count: int) -> list[int]:
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in listening]
    finally:
        for each in listening:
            each.close()


@pytest.fixture
def installed(cluster: KubeCluster, namespace: str, tmp_path: Path, kubernetes: Kubernetes) -> Installation:
    return Installation(cluster, namespace, tmp_path, kubernetes)


async def test_either_replica_takes_webhooks_and_one_writes_until_it_is_killed(installed: Installation) -> None:
    await installed.template(config_map(), gateway_route())
    async with installed.pair() as (leader, other):
        await other.deliver(installed.repository, "opened", 1, A, 0)
        await leader.deliver(installed.repository, "opened", 2, A, 0)
        await eventually("both are shown", lambda: both(installed, 1, 2))
        assert not await other.leads()
        assert await leader.environment_writes() >= 2
        assert await other.environment_writes() == 0
        assert await leader.metric('greenroom_environments{ready="True",reason="Ready"}') == 2
        assert await leader.metric("greenroom_webhook_to_ready_seconds_count") == 2

        await leader.end(signal.SIGKILL)
        await other.deliver(installed.repository, "synchronize", 1, B, 1)
        await eventually("the other carries on", lambda: installed.shows(1, B))
        assert await other.leads()


async def test_a_redelivery_and_a_restart_write_nothing(installed: Installation) -> None:
    await installed.template(config_map(), gateway_route())
    async with installed.replica() as first:
        await first.deliver(installed.repository, "opened", 1, A, 0)
        await eventually("it is shown", lambda: installed.shows(1))
        before = await installed.versions()
        await first.deliver(installed.repository, "opened", 1, A, 0)
        assert await first.end(signal.SIGTERM) == 143
    assert await installed.holder() == ""
    async with installed.replica() as second:
        await eventually("the next one leads", second.leads)
        series = 'greenroom_controller_reconcile_total{controller="environments",result="requeue_after"}'
        await eventually("it looked at the environment", lambda: at_least(second, series, 1))
    assert await installed.versions() == before


async def test_the_api_server_goes_away_and_comes_back(installed: Installation, kubernetes: Kubernetes) -> None:
    await installed.template(config_map(), gateway_route())
    async with installed.pair() as (leader, other):
        await leader.deliver(installed.repository, "opened", 1, A, 0)
        await eventually("it is shown", lambda: installed.shows(1))
        async with kubernetes.without_api_server():
            with pytest.raises(GreenroomError, match="503"):
                await other.deliver(installed.repository, "synchronize", 1, B, 1)
            assert [await each.probe("/healthz") for each in (leader, other)] == [200, 200]
        await other.deliver(installed.repository, "synchronize", 1, B, 1)
        await eventually("what came afterwards is shown", lambda: installed.shows(1, B))
        assert (await leader.leads(), await other.leads()) in ((True, False), (False, True))


async def test_a_replica_started_without_an_api_server_is_not_ready_until_it_is_there(
    installed: Installation, kubernetes: Kubernetes
) -> None:
    await installed.template(config_map())
    async with AsyncExitStack() as stack:
        async with kubernetes.without_api_server():
            replica = await stack.enter_async_context(installed.replica(ready=False))
            await eventually("it answers", lambda: answers(replica, "/readyz", 503))
            assert await replica.probe("/healthz") == 200
        await eventually("it is ready", replica.is_ready)
        await replica.deliver(installed.repository, "opened", 1, A, 0)
        await eventually("it is shown", lambda: installed.shows(1))


async def test_a_field_that_cannot_be_changed_is_changed_by_making_the_object_anew(
    installed: Installation, cluster: KubeCluster
) -> None:
    await installed.template(deployment())
    ref = Ref(DEPLOYMENT, installed.namespace, "pr1")
    async with installed.replica() as replica:
        await replica.deliver(installed.repository, "opened", 1, A, 0)
        await eventually("it is shown", lambda: installed.shows(1))
        before = uid_of(await cluster.get(ref))
        await installed.template(deployment(tier="web"))

        async def made_anew() -> bool:
            return await exists(cluster, ref) and uid_of(await cluster.get(ref)) != before

        await eventually("the Deployment is another one", made_anew)
        await eventually("it is shown again", lambda: installed.shows(1))
        selector = get(await cluster.get(ref), "spec", "selector", "matchLabels")
        assert selector == {"app": "pr1", "tier": "web"}
        events = (await cluster.list(EVENT, namespace=installed.namespace)).items
        told = [text(event, "message") for event in events if text(event, "reason") == "Replacing"]
        assert len(told) == 1
        assert "Deployment.apps/pr1" in told[0]
        assert "field is immutable" in told[0]


async def test_every_log_line_about_an_environment_names_it_and_none_has_the_secret(installed: Installation) -> None:
    await installed.template(
        {"apiVersion": "example.com/v1", "kind": "Missing", "metadata": {"name": NAME}}, config_map()
    )
    async with installed.replica() as replica:
        await replica.deliver(installed.repository, "opened", 1, A, 0)
        await eventually(
            "there is the other object", lambda: exists(installed.cluster, Ref(CONFIG_MAP, installed.namespace, "pr1"))
        )
        await replica.end(signal.SIGTERM)
    lines = replica.said()
    assert [line["pull_request"] for line in lines if line["event"] == "delivery handled"] == [
        f"{installed.repository}/pull/1"
    ]
    assert all("environment" in line for line in lines if "controller" in line)
    assert SECRET not in str(lines)


async def both(installed: Installation, *numbers: int) -> bool:
    return all([await installed.shows(number) for number in numbers])


async def at_least(replica: Replica, series: str, value: float) -> bool:
    return await replica.metric(series) >= value


async def answers(replica: Replica, path: str, status: int) -> bool:
    return await replica.probe(path) == status
