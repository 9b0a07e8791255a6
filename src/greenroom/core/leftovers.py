"""What App Mesh's controller and KubeTempura leave in a cluster, and what it does there.

App Mesh's names are those of aws/aws-app-mesh-controller-for-k8s: ``config/helm/appmesh-controller`` and
``pkg/k8s/finalizers.go``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from greenroom.core.finalizers import left_over
from greenroom.core.findings import Finding, Known, command, on, told
from greenroom.model.manifest import (
    DEPLOYMENT,
    MUTATING_WEBHOOKS,
    VALIDATING_WEBHOOKS,
    Json,
    Manifest,
    Ref,
    annotations_of,
    get,
    is_deleting,
    items,
    name_of,
    ref_of,
    text,
    uid_of,
)
from greenroom.model.mesh import KINDS, MESH, VIRTUAL_GATEWAY, reference

_APP_MESH = "App Mesh's controller"
_KUBETEMPURA = "KubeTempura"
_WEBHOOKS = ".appmesh.k8s.aws"
"""What the names of App Mesh's webhooks end with. A policy engine may ask about the same kinds under other names."""
_HELM_RELEASE, _HELM_NAMESPACE = "meta.helm.sh/release-name", "meta.helm.sh/release-namespace"


def webhooks(known: Known) -> Iterator[Finding]:
    """Webhook configurations of programs that are gone, or are to go."""
    for configuration in (*known.list(MUTATING_WEBHOOKS), *known.list(VALIDATING_WEBHOOKS)):
        found = items(configuration, "webhooks")
        owner = _owner(configuration, found)
        if not owner:
            continue
        ref = ref_of(configuration)
        strict = [each for each in found if get(each, "failurePolicy") != "Ignore"]
        about = ", ".join(sorted({resource for each in strict or found for resource in _resources(each)}))
        effect = "is refused" if strict else "has to wait"
        message = f"{owner} is to be asked about {about}: without it, each write of these {effect}"
        yield Finding("LeftOverWebhook", (told(ref),), message, on(ref, "delete"))


def controllers(known: Known) -> Iterator[Finding]:
    """Programs that do what Greenroom does. Two of them undo each other's writes."""
    for deployment in known.list(DEPLOYMENT):
        if get(deployment, "spec", "replicas") == 0 or is_deleting(deployment):
            continue
        images = {_image(each) for each in items(deployment, "spec", "template", "spec", "containers")}
        ref = ref_of(deployment)
        if "appmesh-controller" in images:
            message = f"{_APP_MESH} still runs. It has no App Mesh to talk to any more, and is in the way of Greenroom"
            yield Finding("OtherController", (told(ref),), message, _uninstall(deployment))
        elif "kubetempura" in images or ref.name == "kubetempura-controller-manager":
            message = f"{_KUBETEMPURA} still runs: it and Greenroom undo each other's writes"
            yield Finding("OtherController", (told(ref),), message, on(ref, "scale", "--replicas=0"))


def held(known: Known) -> Iterator[Finding]:
    """Objects that are being deleted and wait for App Mesh's controller to let go of them."""
    for manifest in _mesh_objects(known):
        gone = left_over(manifest)
        if not gone:
            continue
        ref = ref_of(manifest)
        message = (
            f"is being deleted and waits for {_APP_MESH} ({', '.join(sorted(gone))}); its namespace waits with it. "
            "A Greenroom that runs lets go of it within seconds"
        )
        stay = [each for each in items(manifest, "metadata", "finalizers") if each not in gone]
        patch = json.dumps({"metadata": {"finalizers": stay}})
        yield Finding("Held", (told(ref),), message, on(ref, "patch", "--type=merge", "-p", patch))


def stale_references(known: Known) -> Iterator[Finding]:
    """App Mesh's controller noted which mesh and gateway an object belongs to, by UIDs that may be gone."""
    for manifest in _mesh_objects(known):
        ref = ref_of(manifest)
        mesh = reference(get(manifest, "spec", "meshRef"), MESH, "")
        gateway = reference(get(manifest, "spec", "virtualGatewayRef"), VIRTUAL_GATEWAY, ref.namespace)
        named = (("meshRef", mesh), ("virtualGatewayRef", gateway))
        if stale := [field for field, other in named if other and _is_stale(known, manifest, field, other)]:
            message = (
                f"{' and '.join(stale)} names an object that is gone. Greenroom goes by selectors and does not read it"
            )
            yield Finding("StaleReference", (told(ref),), message, harmless=True)


def _is_stale(known: Known, manifest: Manifest, field: str, other: Ref) -> bool:
    present = known.get(other)
    return present is None or text(manifest, "spec", field, "uid") != uid_of(present)


def _mesh_objects(known: Known) -> Iterator[Manifest]:
    for kind in KINDS:
        yield from known.list(kind)


def _owner(configuration: Manifest, found: Iterable[Json]) -> str:
    if any(text(each, "name").endswith(_WEBHOOKS) for each in found):
        return _APP_MESH
    services = (text(each, "clientConfig", "service", "name") for each in found)
    named = any(name.startswith("kubetempura-") for name in (name_of(configuration), *services))
    return _KUBETEMPURA if named else ""


def _resources(webhook: Json) -> Iterator[str]:
    for rule in items(webhook, "rules"):
        yield from (each for each in items(rule, "resources") if isinstance(each, str))


def _image(container: Json) -> str:
    """The last part of its name: ``appmesh-controller`` of ``registry.example.com/amazon/appmesh-controller:v1``."""
    return text(container, "image").partition("@")[0].rpartition("/")[2].partition(":")[0]


def _uninstall(deployment: Manifest) -> str:
    marks, ref = annotations_of(deployment), ref_of(deployment)
    release, namespace = marks.get(_HELM_RELEASE), marks.get(_HELM_NAMESPACE, ref.namespace)
    if not release:
        return on(ref, "delete")
    return command("helm", "uninstall", release, "--namespace", namespace)
