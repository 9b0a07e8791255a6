"""Pods of gateways: what Greenroom changes in them, so that manifests written for App Mesh bring up Envoy.

The contract is that of App Mesh's controller (``pkg/inject/inject.go``, ``virtualgateway_envoy.go``): in namespaces
with the label, unless the pod's annotation says otherwise, the container ``envoy`` of a pod that the podSelector of a
VirtualGateway in its namespace matches. There are no sidecars any more, so no other pod is touched. A pod of a Gateway
names it in the label that Gateway API has for that.

App Mesh refused each pod of an enabled namespace that nothing matched, or too much. An application that has an Envoy
of its own must start all the same, so here a pod is refused only if it can be nothing but a gateway: it has App Mesh's
image, or the annotation that keeps another, or is a Gateway of ours as well. The controller that makes the pod then
tries again until there is just one gateway for it; a pod that was let through would stay broken for ever, and nobody
would be told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from greenroom.core.admission import Answer, refused, warned
from greenroom.core.bootstrap import READY_PATH, READY_PORT, ControlPlane, bootstrap, sds_files
from greenroom.core.certificates import CERTIFICATE, KEY, TRUST
from greenroom.core.gateway_names import gateway_secret, node_cluster
from greenroom.model.gateway import GATEWAY
from greenroom.model.manifest import (
    Json,
    Manifest,
    Ref,
    annotations_of,
    get,
    items,
    kind_of,
    labels_of,
    name_of,
    number,
    ref_of,
    table,
    text,
)
from greenroom.model.mesh import Refused, selector

INJECT = "appmesh.k8s.aws/sidecarInjectorWebhook"
"""The label of namespaces, and the annotation of pods."""
KEEP_IMAGE = "appmesh.k8s.aws/virtualGatewaySkipImageOverride"
GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"
"""The label of pods that are a Gateway, with its name."""
CONTAINER = "envoy"
FOLDER = "/etc/greenroom/tls"
VOLUME = "greenroom-tls"
POD_NAME = "GREENROOM_POD_NAME"
DRAIN_SECONDS = 15
"""How long Envoy still serves when its pod is to end: until no load balancer sends requests there any more."""

_APP_MESH_IMAGE = "aws-appmesh-envoy"
_ANNOTATION = "greenroom.dev/"
_DEFAULT_GRACE_SECONDS = 30
_NOBODY = 65532
_PRIVILEGED_PORTS = 1024
_FOR_EVERYBODY = ("/dev/", "/tmp/")  # noqa: S108 - in the container
"""Where a process without rights can write a log."""
_WORKERS = "2"


@dataclass(frozen=True, slots=True)
class Injection:
    """Upstream Envoy's image, where it finds the control plane, and the address of the pod on which it listens."""

    image: str
    control_plane: ControlPlane
    bind: str = "0.0.0.0"  # noqa: S104 - a pod has its own address, which is not known yet


def decide(injection: Injection, pod: Manifest, *, namespace: Manifest, gateways: Sequence[Manifest] | None) -> Answer:
    """``gateways`` are those of ours in the pod's namespace, None when that could not be found out."""
    containers = items(pod, "spec", "containers")
    place = next((index for index, each in enumerate(containers) if text(each, "name") == CONTAINER), None)
    mode = annotations_of(pod).get(INJECT) or labels_of(namespace).get(INJECT)
    if place is None or mode == "disabled":
        return Answer()
    found = [gateway for gateway in gateways or () if _selects(gateway, pod)]
    if len(found) == 1:
        return Answer(patch=_patch(injection, pod, place, found[0]))
    trouble = _trouble(found, known=gateways is not None)
    is_meant = _APP_MESH_IMAGE in text(containers[place], "image") or _keeps_image(pod)
    is_meant = is_meant or any(ref_of(each).kind == GATEWAY for each in found)
    return refused(trouble) if is_meant else warned(trouble)


def _trouble(found: Sequence[Manifest], *, known: bool) -> str:
    if not known:
        return "Greenroom cannot find out now which gateway this pod is for, so its container envoy stays as is"
    if found:
        return _several([ref_of(gateway) for gateway in found])
    return (
        "no VirtualGateway in this namespace has a podSelector that matches this pod: create one, "
        f"or annotate the pod {INJECT}: disabled"
    )


def _several(found: Sequence[Ref]) -> str:
    names = ", ".join(ref.name for ref in found if ref.kind != GATEWAY)
    named = next((ref.name for ref in found if ref.kind == GATEWAY), "")
    if named:
        return f"this pod is the Gateway {named} by its label, and the podSelector of {names} matches it: change one"
    return f"this pod matches the podSelector of several VirtualGateways ({names}): change all but one of them"


def _selects(gateway: Manifest, pod: Manifest) -> bool:
    if kind_of(gateway) == GATEWAY:
        return labels_of(pod).get(GATEWAY_NAME) == name_of(gateway)
    try:
        pods = selector(gateway, "podSelector")
    except Refused:
        return False
    return pods is not None and pods.matches(labels_of(pod))


def _keeps_image(pod: Manifest) -> bool:
    return annotations_of(pod).get(KEEP_IMAGE) == "enabled"


def _patch(injection: Injection, pod: Manifest, place: int, gateway: Manifest) -> list[Manifest]:
    """To add what is there already is to replace it (RFC 6902, 4.1)."""
    container = _container(injection, pod, table(pod, "spec", "containers", place), gateway)
    annotations = {**table(pod, "metadata", "annotations"), **_annotations()}
    others = [volume for volume in items(pod, "spec", "volumes") if text(volume, "name") != VOLUME]
    return [
        {"op": "add", "path": "/metadata/annotations", "value": annotations},
        {"op": "add", "path": "/spec/volumes", "value": [*others, _volume(ref_of(gateway))]},
        {"op": "replace", "path": f"/spec/containers/{place}", "value": container},
    ]


def _container(injection: Injection, pod: Manifest, given: Mapping[str, Json], gateway: Manifest) -> dict[str, Json]:
    variables = [each for each in items(given, "env") if text(each, "name") != POD_NAME]
    mounts = [each for each in items(given, "volumeMounts") if text(each, "name") != VOLUME]
    name: Json = {"name": POD_NAME, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    mount: Json = {"name": VOLUME, "mountPath": FOLDER, "readOnly": True}
    probe: Json = {"httpGet": {"path": READY_PATH, "port": READY_PORT}, "periodSeconds": 2, "timeoutSeconds": 1}
    usual: dict[str, Json] = {"readinessProbe": probe, **_drain(pod), **_unprivileged(pod, gateway)}
    return {
        **usual,
        **given,
        **({} if _keeps_image(pod) else {"image": injection.image}),
        "command": ["envoy"],
        "args": _arguments(injection, given, ref_of(gateway)),
        "env": [*variables, name],
        "volumeMounts": [*mounts, mount],
    }


def _arguments(injection: Injection, given: Mapping[str, Json], gateway: Ref) -> list[Json]:
    config = bootstrap(injection.control_plane, folder=FOLDER, bind=injection.bind)
    workers = next(
        (text(each, "value") for each in items(given, "env") if text(each, "name") == "ENVOY_CONCURRENCY"), ""
    )
    return [
        "--config-yaml",
        msgspec.json.encode(config).decode(),
        "--service-cluster",
        node_cluster(gateway),
        "--service-node",
        f"$({POD_NAME})",  # the kubelet fills it in
        "--concurrency",
        workers if workers.isdecimal() else _WORKERS,  # Envoy would start one for each processor of the node
        "--disable-hot-restart",
        "--log-level",
        "warning",
    ]


def _drain(pod: Manifest) -> dict[str, Json]:
    """Envoy ends at once when it is told to. Its pod is taken out of Services before, and needs time to be heard of."""
    grace = number(pod, "spec", "terminationGracePeriodSeconds", default=_DEFAULT_GRACE_SECONDS)
    seconds = min(DRAIN_SECONDS, grace // 2)
    return {"lifecycle": {"preStop": {"sleep": {"seconds": seconds}}}} if seconds > 0 else {}


def _unprivileged(pod: Manifest, gateway: Manifest) -> dict[str, Json]:
    """No rights that Envoy does not need, unless the pod says whose rights it has, or a port or a log needs more."""
    where = ("port",) if kind_of(gateway) == GATEWAY else ("portMapping", "port")
    ports = [number(each, *where) for each in items(gateway, "spec", "listeners")]
    log = text(gateway, "spec", "logging", "accessLog", "file", "path") or "/dev/null"
    needs_more = any(port < _PRIVILEGED_PORTS for port in ports) or not log.startswith(_FOR_EVERYBODY)
    if needs_more or get(pod, "spec", "securityContext", "runAsUser") is not None:
        return {}
    return {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _NOBODY,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    }


def _annotations() -> dict[str, Json]:
    """The SDS files, which get into the volume by way of annotations, so that the Secret may be anybody's."""
    return {_ANNOTATION + name: msgspec.json.encode(file).decode() for name, file in sds_files(FOLDER).items()}


def _volume(gateway: Ref) -> Json:
    """A pod waits until its Secret is there. The kubelet replaces all files at once."""
    keys: Json = [{"key": name, "path": name} for name in (CERTIFICATE, KEY, TRUST)]
    files: Json = [
        {"path": name, "fieldRef": {"fieldPath": f"metadata.annotations['{_ANNOTATION}{name}']"}}
        for name in sds_files(FOLDER)
    ]
    secret: Json = {"secret": {"name": gateway_secret(gateway).name, "items": keys}}
    return {"name": VOLUME, "projected": {"sources": [secret, {"downwardAPI": {"items": files}}]}}
