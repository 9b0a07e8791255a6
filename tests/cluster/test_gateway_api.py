"""Gateway API on a real API server: the project's own CRDs, the chart's rights, and an Envoy that serves."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import yaml
from aiohttp import ClientSession
from tests.cluster.failing import applied, made
from tests.cluster.gateways import (
    NOT_FOUND,
    RELEASE,
    Answer,
    Envoy,
    backends,
    behind,
    certificate,
    host,
    own_address,
)
from tests.cluster.helm import Helm
from tests.cluster.kubernetes import Kubernetes
from tests.cluster.operators import Installation, free_ports
from tests.contract.suite import MANAGER, eventually

from greenroom.adapters.kube import KubeCluster
from greenroom.core.gateways import is_own_class
from greenroom.model.gateway import CONTROLLER, GATEWAY, GATEWAY_CLASS, HTTP_ROUTE, KINDS, REFERENCE_GRANT
from greenroom.model.manifest import Json, Kind, Manifest, Ref, get, items, kind_of, text

MODULE, SUM = "sigs.k8s.io/gateway-api@v1.3.0", "h1:q6okN+/UKDATola4JY7zXzx40WO4VISk7i9DIfOvr9M="
CRD = Kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
RIGHTS = {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """The CRDs as their project publishes them, of its standard channel."""
    folder = tmp_path_factory.mktemp("go")
    done = subprocess.run(["go", "mod", "download", "-json", MODULE], cwd=folder, capture_output=True, check=True)
    found = json.loads(done.stdout)
    assert found["Sum"] == SUM
    files = (Path(found["Dir"]) / "config" / "crd" / "standard").glob("gateway.networking.k8s.io_*.yaml")
    return [yaml.safe_load(file.read_text()) for file in sorted(files)]


@pytest.fixture
async def served(cluster: KubeCluster, definitions: list[Manifest]) -> AsyncIterator[None]:
    async def are_served() -> bool:
        return {resource.kind for resource in await cluster.resources()}.issuperset(KINDS)

    async def are_gone() -> bool:
        return {resource.kind for resource in await cluster.resources()}.isdisjoint(KINDS)

    async with applied(cluster, *definitions):
        await eventually("Gateway API is served", are_served)
        yield
    await eventually("Gateway API is gone", are_gone)


@pytest.fixture
async def installed(
    served: None, cluster: KubeCluster, namespace: str, kubernetes: Kubernetes, binaries: Path, tmp_path: Path
) -> AsyncIterator[Installation]:
    """With no other rights than those that the chart gives, and with its GatewayClass."""
    values: Manifest = {"environments": {"namespaces": [namespace]}, "gateways": {"namespaces": [namespace]}}
    rendered = Helm(binaries / "helm", tmp_path, RELEASE, namespace).render(values, kinds=[GATEWAY_CLASS])
    wanted = [each for each in rendered if text(each, "kind") in RIGHTS or kind_of(each) == GATEWAY_CLASS]
    assert any(is_own_class(each) for each in wanted)
    async with applied(cluster, *wanted):
        yield Installation(cluster, namespace, tmp_path, kubernetes, account="greenroom", release=RELEASE)


class Place:
    """A Gateway ``web`` on ``port``, its HTTPRoutes, and what is said of them."""

    def __init__(self, cluster: KubeCluster, namespace: str, port: int) -> None:
        self.cluster, self.namespace, self.port = cluster, namespace, port
        self.gateway = Ref(GATEWAY, namespace, "web")

    async def put(self, *manifests: Manifest) -> None:
        for each in manifests:
            await self.cluster.apply(each, manager=MANAGER)

    def web(self, *more: Json) -> Manifest:
        listener: Json = {"name": "http", "port": self.port, "protocol": "HTTP", "hostname": "*.example.com"}
        spec: Json = {"gatewayClassName": "greenroom", "listeners": [listener, *more]}
        return made(GATEWAY, "web", self.namespace, spec=spec)

    def route(self, name: str, *, backend: Json = None, **rule: Json) -> Manifest:
        given: Json = backend if isinstance(backend, Mapping) else {"name": name, "port": 80}
        spec: Json = {
            "parentRefs": [{"name": "web"}],
            "hostnames": [host(name)],
            "rules": [{"backendRefs": [given], **rule}],
        }
        return made(HTTP_ROUTE, name, self.namespace, spec=spec)

    async def said(self, ref: Ref) -> dict[str, str]:
        """Type of condition -> its status and reason, of the object as it is now."""
        manifest = await self.cluster.get(ref)
        generation = get(manifest, "metadata", "generation")
        status = [
            *items(manifest, "status", "conditions"),
            *(each for parent in items(manifest, "status", "parents") for each in items(parent, "conditions")),
        ]
        return {
            text(each, "type"): f"{text(each, 'status')} {text(each, 'reason')}"
            for each in status
            if get(each, "observedGeneration") == generation
        }

    async def says(self, ref: Ref, **said: str) -> None:
        """Wait until it does."""

        async def look() -> bool:
            return (await self.said(ref)).items() >= said.items()

        await eventually(f"{ref} says {said}", look)

    def ref(self, name: str) -> Ref:
        return Ref(HTTP_ROUTE, self.namespace, name)


@asynccontextmanager
async def serving(place: Place, folder: Path, ads: int) -> AsyncIterator[Envoy]:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(ClientSession())
        folder.mkdir()
        envoy = Envoy(place.gateway, place.port, folder, [ads], session)
        envoy.mount(*await certificate(place.cluster, place.gateway))
        await stack.enter_async_context(envoy.running())
        await eventually("Envoy is ready", envoy.is_ready)
        yield envoy


async def test_a_route_is_served_and_every_status_says_so(
    installed: Installation, cluster: KubeCluster, namespace: str, tmp_path: Path
) -> None:
    ads, port = free_ports(2)
    place, address = Place(cluster, namespace, port), own_address()
    async with backends(1, address) as (backend,), installed.replica(ads_port=ads):
        await place.put(place.web(), *behind("pr7", namespace, backend, address=address), place.route("pr7"))
        await place.says(Ref(GATEWAY_CLASS, "", "greenroom"), Accepted="True Accepted")
        await place.says(place.ref("pr7"), Accepted="True Accepted", ResolvedRefs="True ResolvedRefs")
        await place.says(place.gateway, Accepted="True Accepted", Programmed="False Pending")
        async with serving(place, tmp_path / "envoy", ads) as envoy:
            await eventually("the route is served", lambda: envoy.answers({"pr7": backend}))
            await place.says(place.gateway, Programmed="True Programmed")
            (listener,) = items(await cluster.get(place.gateway), "status", "listeners")
            assert (get(listener, "name"), get(listener, "attachedRoutes")) == ("http", 1)
            await cluster.delete(place.ref("pr7"))
            await eventually("the route is gone", lambda: is_answered(envoy, "pr7", NOT_FOUND))


async def is_answered(envoy: Envoy, name: str, answer: Answer) -> bool:
    return await envoy.get(name) == answer


async def test_what_is_wrong_is_said_with_the_reasons_of_the_specification(
    installed: Installation, cluster: KubeCluster, namespace: str, tmp_path: Path
) -> None:
    ads, port, other = free_ports(3)
    place, address = Place(cluster, namespace, port), own_address()
    tls: Json = {
        "name": "https",
        "port": other,
        "protocol": "HTTPS",
        "hostname": "*.example.com",
        "tls": {"certificateRefs": [{"name": "x"}]},
    }
    nowhere: Json = {"name": "pr1", "port": 80, "namespace": "kube-system"}
    mirror: Json = [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "pr1", "port": 80}}}]
    elsewhere = made(
        HTTP_ROUTE, "elsewhere", namespace, spec={"parentRefs": [{"name": "web"}], "hostnames": ["a.example.org"]}
    )
    routes = [
        place.route("lost"),
        place.route("foreign", backend=nowhere),
        place.route("mirrored", backend={"name": "pr1", "port": 80}, filters=mirror),
        place.route("good", backend={"name": "pr1", "port": 80}),
        elsewhere,
    ]
    async with backends(1, address) as (backend,), installed.replica(ads_port=ads):
        await place.put(place.web(tls), *behind("pr1", namespace, backend, address=address), *routes)
        await place.says(place.ref("lost"), Accepted="True Accepted", ResolvedRefs="False BackendNotFound")
        await place.says(place.ref("foreign"), Accepted="True Accepted", ResolvedRefs="False RefNotPermitted")
        await place.says(place.ref("mirrored"), Accepted="False UnsupportedValue")
        await place.says(place.ref("elsewhere"), Accepted="False NoMatchingListenerHostname")
        await place.says(place.gateway, Accepted="True ListenersNotValid")
        async with serving(place, tmp_path / "envoy", ads) as envoy:
            await eventually("the good one is served", lambda: is_answered(envoy, "good", Answer(200, backend)))
            assert await envoy.get("lost") == await envoy.get("foreign") == Answer(500)
            assert await envoy.get("mirrored") == NOT_FOUND


async def test_what_another_controller_said_of_a_route_stays(
    installed: Installation, cluster: KubeCluster, namespace: str
) -> None:
    place = Place(cluster, namespace, *free_ports(1))
    theirs: Json = {
        "parentRef": {"name": "theirs"},
        "controllerName": "example.com/other",
        "conditions": [
            {
                "type": "Accepted",
                "status": "True",
                "reason": "Accepted",
                "message": "",
                "observedGeneration": 1,
                "lastTransitionTime": "2026-01-31T12:00:00Z",
            }
        ],
    }
    await place.put(place.web(), place.route("pr7"))
    before = await cluster.patch_status(place.ref("pr7"), {"parents": [theirs]})
    async with installed.replica():
        await place.says(place.ref("pr7"), ResolvedRefs="False BackendNotFound")
    parents = items(await cluster.get(place.ref("pr7")), "status", "parents")
    assert [text(each, "controllerName") for each in parents] == ["example.com/other", CONTROLLER]
    assert parents[:1] == items(before, "status", "parents")


async def test_a_gateway_of_another_class_is_left_alone(
    installed: Installation, cluster: KubeCluster, namespace: str
) -> None:
    """What the API server itself writes when such an object is made stays as well."""
    place = Place(cluster, namespace, *free_ports(1))
    other = made(GATEWAY_CLASS, f"other-{namespace}", spec={"controllerName": "example.com/other"})
    theirs: Json = {
        "gatewayClassName": f"other-{namespace}",
        "listeners": [{"name": "a", "port": 80, "protocol": "HTTP"}],
    }
    async with applied(cluster, other), installed.replica():
        await place.put(place.web(), place.route("pr7"), made(GATEWAY, "theirs", namespace, spec=theirs))
        await place.says(place.gateway, Programmed="False Pending")
        said = await place.said(Ref(GATEWAY, namespace, "theirs"))
        assert set(said.values()) <= {"Unknown Pending"}


def test_the_kinds_of_the_crds_are_those_that_are_watched(definitions: list[Manifest]) -> None:
    names = {text(each, "spec", "names", "kind") for each in definitions}
    assert {kind.name for kind in (*KINDS, REFERENCE_GRANT)} <= names
    assert {text(each, "kind") for each in definitions} == {CRD.name}
