"""Where the parts meet: one function puts a Greenroom on one machine together, starts it, and takes it apart again."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from greenroom.adapters.ads import AdsServer
from greenroom.app.forging import forging
from greenroom.app.lifecycle import LOCAL, SystemClock, background, ended_by, port_taken, serving
from greenroom.app.log_tail import last_lines
from greenroom.app.logs import log_to
from greenroom.app.manifests import placed
from greenroom.app.settings import USER_MANAGER, OneMachineSettings, Running
from greenroom.core.gateways import class_of, is_ours, is_own_class
from greenroom.flows.builds import Builds
from greenroom.flows.commands import Commands
from greenroom.flows.gatekeeper import Gatekeeper
from greenroom.flows.intake import Intake
from greenroom.flows.reconcile import Reconcile
from greenroom.flows.route import Routes
from greenroom.local import instance
from greenroom.local.api import server as api
from greenroom.local.gateway import Gateways
from greenroom.local.storage.store import Store
from greenroom.local.workloads.controllers import Workloads
from greenroom.model.errors import GreenroomError, Invalid, InvalidInput, NotFound, UnknownKind
from greenroom.model.gateway import CONTROLLER, GATEWAY, GATEWAY_CLASS
from greenroom.model.manifest import (
    NAMESPACE,
    POD,
    Json,
    Kind,
    Manifest,
    Ref,
    condition_of,
    kind_of,
    name_of,
    number,
    ref_of,
    table,
    text,
)
from greenroom.model.mesh import MESH, VIRTUAL_GATEWAY
from greenroom.ports import Cluster
from greenroom.runtime.informer import Informers
from greenroom.web.app import make_app

MANAGER = "greenroom-local"
DEFAULT_GATEWAY = "greenroom"
DEFAULT_GATEWAY_NAMESPACE = "default"
"""Not the user's, which may be another at the next start: there would be two gateways then."""
GATEWAY_SECONDS = 15.0
"""How long an Envoy may take to start."""


@dataclass(frozen=True, slots=True)
class OneMachine:
    """A Greenroom that is running."""

    settings: OneMachineSettings
    cluster: Cluster
    informers: Informers
    webhook_url: str
    gateway_port: int

    def remains_of(self, commit: str) -> list[str]:
        """What there still is of a commit on this machine: pods, processes and the worktree; for the demo and tests."""
        pods = [pod for pod in self.informers.list(POD) if commit in str(table(pod, "spec"))]
        marks = [{"GREENROOM_POD": text(pod, "metadata", "uid")} for pod in pods]
        worktree = self.settings.state.root / "images" / commit
        return [
            *(f"pod {name_of(pod)}" for pod in pods),
            *(f"process {process.pid}" for mark in marks for process in instance.marked(mark)),
            *([str(worktree)] if worktree.exists() else []),
        ]


@asynccontextmanager
async def one_machine(settings: OneMachineSettings, objects: Sequence[Manifest]) -> AsyncIterator[OneMachine]:
    """Start everything, apply ``objects``, and stop everything at the end. What was left behind by a kill ends first.

    Raises GreenroomError when it cannot start: the folder is in use, a port is taken, an object is wrong.
    """
    clock = SystemClock()
    state = settings.state
    state.create()
    async with AsyncExitStack() as stack:
        stack.enter_context(ended_by(signal.SIGTERM, signal.SIGHUP))
        store = Store.open(state.database, clock=clock)
        stack.callback(store.close)
        stack.enter_context(log_to(state.log))
        state.say_stopped()  # of one that was killed
        stack.callback(state.say_stopped)
        identity = instance.instance_id(state.root)
        await instance.end_leftovers(identity)
        await _prepare(store, settings, objects)

        informers = Informers(store)
        workloads = Workloads(
            store, informers, state=state.root, repository=settings.repository, instance=identity, clock=clock
        )
        ads = await stack.enter_async_context(AdsServer())
        gateways = Gateways(informers, ads.address, state=state.root, instance=identity)
        routes = Routes(store, informers, ads, clock)
        gateway_port = await _gateway_port(store)
        reconcile = Reconcile(store, informers, clock, url_of=lambda host: f"http://{host}:{gateway_port}")
        forge = await stack.enter_async_context(forging(settings.forge, clock))
        intake = Intake(store, informers, clock, forge=forge.forge if forge is not None else None)
        gatekeeper = Gatekeeper(intake, informers)

        commands = Commands(store, informers, intake, forge.forge if forge is not None else None)
        builds = Builds(store, informers, clock)
        webhook = make_app(intake, commands, builds, secrets=[state.webhook_secret()])
        webhook_port = await stack.enter_async_context(serving(webhook, settings.webhook_port, option="--webhook-port"))
        webhook_url = f"http://{LOCAL}:{webhook_port}"
        token = state.api_token()
        server = await stack.enter_async_context(api.running(api.make_app(store, token=token, logs=workloads.logs)))
        api.write_kubeconfig(state.kubeconfig, server=server, token=token, namespace=settings.namespace)

        parts = [informers.run, routes.run, reconcile.run, gatekeeper.run, gateways.run, workloads.run]
        if forge is not None:
            service, logs = forge, last_lines(workloads.logs)

            async def tell() -> None:
                await service.keep(store, informers, intake, clock, logs=logs)

            parts.append(tell)
        await stack.enter_async_context(background(*parts))
        await informers.synced()
        await _until_gateways_serve(informers)
        state.say_running(Running(webhook=f"{webhook_url}/webhooks", repository=str(settings.repository)))
        yield OneMachine(settings, store, informers, f"{webhook_url}/webhooks", gateway_port)


async def _prepare(store: Store, settings: OneMachineSettings, objects: Sequence[Manifest]) -> None:
    """Apply the user's objects, and a class, a mesh and a gateway of our own unless there are others."""
    namespace: Manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": settings.namespace}}
    await store.apply(namespace, manager=MANAGER)
    for manifest in sorted(objects, key=lambda manifest: kind_of(manifest) != NAMESPACE):
        try:
            resource = await store.resource(kind_of(manifest))
            await store.apply(placed(manifest, resource, settings.namespace), manager=USER_MANAGER)
        except (Invalid, NotFound, UnknownKind) as error:
            raise InvalidInput(str(error), source=f"{kind_of(manifest)}/{name_of(manifest)}") from error
    for default in _defaults(settings):
        ref = ref_of(default)
        kinds = (ref.kind, GATEWAY) if ref.kind == VIRTUAL_GATEWAY else (ref.kind,)
        found = [each for kind in kinds for each in await _ours(store, kind)]
        if all(ref_of(each) == ref for each in found):
            await store.apply(default, manager=MANAGER)
        elif await _exists(store, ref):
            await store.delete(ref)


def _defaults(settings: OneMachineSettings) -> tuple[Manifest, ...]:
    everything: dict[str, Json] = {"namespaceSelector": {}}
    listener: Json = {"portMapping": {"port": settings.gateway_port, "protocol": "http"}}
    mesh: Manifest = {
        "apiVersion": MESH.api_version,
        "kind": MESH.name,
        "metadata": {"name": "greenroom"},
        "spec": everything,
    }
    gateway: Manifest = {
        "apiVersion": VIRTUAL_GATEWAY.api_version,
        "kind": VIRTUAL_GATEWAY.name,
        "metadata": {"name": DEFAULT_GATEWAY, "namespace": DEFAULT_GATEWAY_NAMESPACE},
        "spec": {**everything, "listeners": [listener]},
    }
    gateway_class: Manifest = {
        "apiVersion": GATEWAY_CLASS.api_version,
        "kind": GATEWAY_CLASS.name,
        "metadata": {"name": "greenroom"},
        "spec": {"controllerName": CONTROLLER},
    }
    return gateway_class, mesh, gateway


async def _ours(store: Store, kind: Kind) -> Sequence[Manifest]:
    """The objects of a kind; of Gateways and their classes, those that are ours."""
    found = (await store.list(kind)).items
    if kind not in {GATEWAY, GATEWAY_CLASS}:
        return found
    classes = [each for each in (await store.list(GATEWAY_CLASS)).items if is_own_class(each)]
    names = {ref_of(each) for each in classes}
    return classes if kind == GATEWAY_CLASS else [each for each in found if class_of(each) in names]


async def _exists(store: Store, ref: Ref) -> bool:
    try:
        await store.get(ref)
    except NotFound:
        return False
    return True


async def _gateway_port(store: Store) -> int:
    """The port of the first listener of the first gateway. Raises InvalidInput when another program has it."""
    ports = [
        *(number(each, "spec", "listeners", 0, "portMapping", "port") for each in await _ours(store, VIRTUAL_GATEWAY)),
        *(number(each, "spec", "listeners", 0, "port") for each in await _ours(store, GATEWAY)),
    ]
    for port in filter(None, ports):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOCAL, port))
            except OSError as error:
                raise port_taken(port, "--port, or in the gateway", error) from error
    return ports[0] if ports else 0


async def _until_gateways_serve(informers: Informers) -> None:
    """Wait until every gateway's Envoy has its configuration. Raises GreenroomError with what the gateway says."""
    deadline = asyncio.get_running_loop().time() + GATEWAY_SECONDS
    while waiting := [
        (gateway, condition)
        for kind, served in ((VIRTUAL_GATEWAY, "VirtualGatewayActive"), (GATEWAY, "Programmed"))
        for gateway in informers.list(kind)
        if is_ours(gateway, informers)
        if text(condition := condition_of(gateway, served), "status") != "True"
    ]:
        if asyncio.get_running_loop().time() > deadline:
            gateway, condition = waiting[0]
            told = text(condition, "message") or "its Envoy did not start"
            raise GreenroomError(f"the gateway {name_of(gateway)} does not serve: {told}")
        await asyncio.sleep(0.02)
