"""Services to EndpointSlices: where the pods of a Service listen on this machine.

Each pod has ports of its own, and a slice has one list of ports for all its endpoints, so each pod gets a slice. A pod
that is being deleted is not ready, whatever it says itself: gateways turn away from it before it stops.

With hundreds of environments every pod would have to be tried against every Service, at each of its changes. So both
are filed under labels: a pod under all of its own, a Service under the one of its selector that the fewest others have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from contextlib import suppress
from typing import TypeAlias

from greenroom.core.replicas import has_ended, is_ready
from greenroom.local.workloads.environment import UNDECLARED
from greenroom.local.workloads.pods import ports_of
from greenroom.local.workloads.podstatus import HOST_IP
from greenroom.model.errors import Conflict, NotFound
from greenroom.model.manifest import (
    ENDPOINT_SLICE,
    POD,
    SERVICE,
    Json,
    Manifest,
    Ref,
    get,
    is_deleting,
    items,
    kind_of,
    labels_of,
    name_of,
    number,
    owner_reference,
    ref_of,
    selects,
    table,
    text,
    uid_of,
)
from greenroom.model.watch import Scope
from greenroom.ports import Cluster
from greenroom.runtime.controller import Controller
from greenroom.runtime.informer import Informers

MANAGER = "greenroom-local"
SERVICE_LABEL = "kubernetes.io/service-name"

_APPLIED = ("addressType", "endpoints", "ports")

_Label: TypeAlias = tuple[str, str, str]
"""Namespace, key, value."""


class _Files:
    """Objects by the labels that they are filed under."""

    def __init__(self) -> None:
        self._by_label: dict[_Label, set[Ref]] = defaultdict(set)
        self._labels: dict[Ref, Set[_Label]] = {}

    def file(self, ref: Ref, labels: Set[_Label]) -> None:
        """File ``ref`` under these labels and no others; without any it is forgotten."""
        for label in self._labels.pop(ref, set()):
            self._by_label[label].discard(ref)
            if not self._by_label[label]:
                del self._by_label[label]
        for label in labels:
            self._by_label[label].add(ref)
        if labels:
            self._labels[ref] = labels

    def under(self, label: _Label) -> Set[Ref]:
        return self._by_label.get(label, set())

    def rarest(self, labels: Iterable[_Label]) -> _Label:
        """The label, of at least one, that has the fewest objects."""
        return min(labels, key=lambda label: len(self.under(label)))


class Services:
    """Keeps the EndpointSlices of each Service that has a selector."""

    def __init__(self, cluster: Cluster, informers: Informers) -> None:
        self._cluster = cluster
        self._informers = informers
        self._services, self._pods = _Files(), _Files()
        self.controller: Controller[Ref] = Controller("services", self._reconcile)
        informers.subscribe(Scope(SERVICE), self._service_changed)
        informers.subscribe(Scope(POD), self._pod_changed)
        informers.subscribe(Scope(ENDPOINT_SLICE), self._slice_changed)

    def _service_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        ref = ref_of(new or old or {})
        selector = _filed(new, _selector(new)) if new is not None else set()
        self._services.file(ref, {self._services.rarest(selector)} if selector else set())
        self.controller.add(ref)

    def _pod_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        self._pods.file(ref_of(new or old or {}), _filed(new, labels_of(new)) if new is not None else set())
        for pod in (old, new):
            for ref in self._services_of(pod) if pod is not None else ():
                self.controller.add(ref)

    def _services_of(self, pod: Manifest) -> Iterable[Ref]:
        for label in _filed(pod, labels_of(pod)):
            for ref in self._services.under(label):
                service = self._informers.get(ref)
                if service is not None and selects_pod(service, pod):
                    yield ref

    def _slice_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        """Somebody may have changed or deleted one of ours."""
        endpoint_slice = new or old
        if endpoint_slice is not None and (name := labels_of(endpoint_slice).get(SERVICE_LABEL)):
            self.controller.add(Ref(SERVICE, text(endpoint_slice, "metadata", "namespace"), name))

    async def _reconcile(self, ref: Ref) -> None:
        service = self._informers.get(ref)
        if service is None or is_deleting(service) or not _selector(service):
            return
        present = {name_of(each): each for each in self._owned(service)}
        wanted = {name_of(each): each for each in self._wanted(service)}
        for name, manifest in wanted.items():
            if name not in present or _differs(present[name], manifest):
                self._informers.observe(await self._cluster.apply(manifest, manager=MANAGER))
        for name in present.keys() - wanted.keys():
            with suppress(NotFound, Conflict):
                await self._cluster.delete(ref_of(present[name]), uid=uid_of(present[name]))

    def _owned(self, service: Manifest) -> Iterable[Manifest]:
        return (each for each in self._informers.owned(uid_of(service)) if kind_of(each) == ENDPOINT_SLICE)

    def _wanted(self, service: Manifest) -> Iterable[Manifest]:
        label = self._pods.rarest(_filed(service, _selector(service)))
        for ref in self._pods.under(label):
            pod = self._informers.get(ref)
            if pod is not None and selects_pod(service, pod) and (ports := service_ports(service, pod)):
                yield endpoint_slice(service, pod, ports)


def selects_pod(service: Manifest, pod: Manifest) -> bool:
    """Whether the pod is, or while it runs would be, behind the Service."""
    selector = _selector(service)
    return bool(selector) and not has_ended(pod) and selects(selector, labels_of(pod))


def service_ports(service: Manifest, pod: Manifest) -> list[Json]:
    """The Service's ports with the ports where the pod really listens; those that the pod has not are left out."""
    actual = ports_of(pod)
    ports: list[Json] = []
    for port in items(service, "spec", "ports"):
        real = _real_port(_target(port, pod), actual)
        if real is not None:
            ports.append({"name": text(port, "name"), "port": real, "protocol": text(port, "protocol") or "TCP"})
    return ports


def endpoint_slice(service: Manifest, pod: Manifest, ports: list[Json]) -> Manifest:
    ready, ending = is_ready(pod), is_deleting(pod)
    namespace = text(service, "metadata", "namespace")
    metadata: dict[str, Json] = {
        "name": f"{name_of(service)}-{name_of(pod)}",
        "namespace": namespace,
        "labels": {SERVICE_LABEL: name_of(service)},
        "ownerReferences": [owner_reference(service)],
    }
    endpoint: dict[str, Json] = {
        "addresses": [HOST_IP],
        "conditions": {"ready": ready and not ending, "serving": ready, "terminating": ending},
        "targetRef": {"kind": POD.name, "namespace": namespace, "name": name_of(pod), "uid": uid_of(pod)},
    }
    return {
        "apiVersion": ENDPOINT_SLICE.api_version,
        "kind": ENDPOINT_SLICE.name,
        "metadata": metadata,
        "addressType": "IPv4",
        "endpoints": [endpoint],
        "ports": ports,
    }


def _real_port(target: int | None, actual: Mapping[int, int]) -> int | None:
    """As in Kubernetes a port need not be declared: a pod that declares none has the one it was told."""
    if target is None:
        return None
    return actual.get(target, actual[UNDECLARED] if actual.keys() == {UNDECLARED} else None)


def _target(port: Json, pod: Manifest) -> int | None:
    """The container port that a Service port means: by number, by name, or the same as its own. None: no such name."""
    target = get(port, "targetPort")
    if isinstance(target, str) and not target.isdecimal():
        for container in items(pod, "spec", "containers"):
            for declared in items(container, "ports"):
                if text(declared, "name") == target:
                    return number(declared, "containerPort")
        return None
    return int(target) if isinstance(target, int | str) else number(port, "port")


def _filed(manifest: Manifest, labels: Mapping[str, str]) -> set[_Label]:
    namespace = text(manifest, "metadata", "namespace")
    return {(namespace, key, value) for key, value in labels.items()}


def _selector(service: Manifest) -> Mapping[str, str]:
    selector = table(service, "spec", "selector")
    return {key: value for key, value in selector.items() if isinstance(value, str)}


def _differs(present: Manifest, wanted: Manifest) -> bool:
    if any(present.get(field) != wanted.get(field) for field in _APPLIED):
        return True
    return labels_of(present) != labels_of(wanted)
