"""Whether gateways can come up in a cluster, and whether routes find theirs."""

from __future__ import annotations

from collections.abc import Iterator

from greenroom.core.endpoints import SERVICE_LABEL
from greenroom.core.findings import Finding, Known, command, kubectl, on, told
from greenroom.core.injection import CONTAINER, INJECT, VOLUME
from greenroom.core.membership import Membership
from greenroom.core.results import Parser, Results
from greenroom.model.gateway_route import parse_gateway_route
from greenroom.model.manifest import (
    ENDPOINT_SLICE,
    MUTATING_WEBHOOKS,
    NAMESPACE,
    POD,
    PR,
    REVIEW_APP,
    VALIDATING_WEBHOOKS,
    Json,
    Kind,
    Manifest,
    Ref,
    controller_of,
    get,
    is_deleting,
    items,
    labels_of,
    ref_of,
    text,
)
from greenroom.model.mesh import (
    GATEWAY_ROUTE,
    KINDS,
    MESH,
    VIRTUAL_GATEWAY,
    Mesh,
    Refused,
    parse_mesh,
    selector,
)
from greenroom.model.virtual_gateway import VirtualGateway, parse_virtual_gateway

_APP_MESH_IMAGE = "aws-appmesh-envoy"
_OURS = ".greenroom.dev"
"""What the names of Greenroom's webhooks end with."""
_PODS = ".pods.greenroom.dev"
_GREENROOM = "app.kubernetes.io/name=greenroom"


def kinds(known: Known) -> Iterator[Finding]:
    """Kinds that the cluster does not know."""
    missing = [kind for kind in (REVIEW_APP, PR, *KINDS) if kind not in known.served]
    if missing:
        only = [word for kind in missing for word in ("--only", kind.name.lower())]
        cure = f"{command('greenroom', 'crds', *only)} | kubectl apply --server-side -f -"
        message = "the cluster serves no such kind: its CRD is missing, or of another version"
        yield Finding("NoCRD", tuple(map(str, missing)), message, cure)


def webhooks(known: Known) -> Iterator[Finding]:
    """Greenroom's own: there, trusted, and answered."""
    ours = [
        (ref_of(configuration), each)
        for kind in (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS)
        for configuration in known.list(kind)
        for each in items(configuration, "webhooks")
        if text(each, "name").endswith(_OURS)
    ]
    gateways = tuple(told(ref_of(gateway)) for gateway in known.list(VIRTUAL_GATEWAY))
    if gateways and not any(text(each, "name").endswith(_PODS) for _, each in ours):
        cure = "helm upgrade greenroom deploy/chart --namespace greenroom --reuse-values --set gateways.enabled=true"
        yield Finding("NoPodWebhook", gateways, "no webhook of Greenroom's gives its pods Envoy", cure)
    for ref, each in ours:
        service = get(each, "clientConfig", "service")
        namespace = text(service, "namespace")
        if service is None:
            continue
        if not text(each, "clientConfig", "caBundle"):
            message = "has no caBundle, which Greenroom writes within a minute if it runs and may do so"
            cure = kubectl("rollout", "restart", "deployment", "-l", _GREENROOM, namespace=namespace)
            yield Finding("NoCaBundle", (told(ref),), message, cure)
        if not _is_answered(known, namespace, text(service, "name")):
            message = f"leads to the Service {namespace}/{text(service, 'name')}, behind which no pod is ready"
            cure = kubectl("get", "pods", "-l", _GREENROOM, namespace=namespace)
            yield Finding("WebhookNotAnswered", (told(ref),), message, cure)


def namespaces(known: Known) -> Iterator[Finding]:
    """Those with gateways whose pods the API server asks nobody about. Others need no label."""
    for name in sorted({ref_of(gateway).namespace for gateway in known.list(VIRTUAL_GATEWAY)}):
        namespace = known.get(Ref(NAMESPACE, "", name))
        if namespace is not None and labels_of(namespace).get(INJECT) not in {"enabled", "disabled"}:
            message = f"has a VirtualGateway, and no label {INJECT}, so that no pod in it gets Envoy"
            cure = kubectl("label", "namespace", name, f"{INJECT}=enabled", "--overwrite")
            yield Finding("NotLabelled", (told(ref_of(namespace)),), message, cure)


def gateways(known: Known) -> Iterator[Finding]:
    """VirtualGateways that no pod serves, or that are wrong in themselves."""
    refused = Parser(VIRTUAL_GATEWAY, parse_virtual_gateway).read(known).refused
    for gateway in known.list(VIRTUAL_GATEWAY):
        ref = ref_of(gateway)
        if is_deleting(gateway):
            continue
        if ref in refused:
            yield Finding(refused[ref].reason, (told(ref),), str(refused[ref]), on(ref, "edit"))
        elif get(gateway, "spec", "podSelector") is None:
            yield Finding("NoPodSelector", (told(ref),), "has no podSelector, which selects no pod", on(ref, "edit"))
        elif not any(_is_served_by(gateway, pod) for pod in known.list(POD)):
            message = f"its podSelector matches no pod of its namespace that has a container {CONTAINER}"
            cure = f"{kubectl('get', 'pods', '--show-labels', namespace=ref.namespace)}\n{on(ref, 'edit')}"
            yield Finding("NoPods", (told(ref),), message, cure)


def pods(known: Known) -> Iterator[Finding]:
    """Pods from App Mesh's time. They keep what they have, and what they need came from AWS."""
    for pod in known.list(POD):
        if is_deleting(pod) or text(pod, "status", "phase") in {"Succeeded", "Failed"} or _is_injected(pod):
            continue
        of_app_mesh = any(_APP_MESH_IMAGE in text(each, "image") for each in items(pod, "spec", "containers"))
        serves = [told(ref_of(gateway)) for gateway in known.list(VIRTUAL_GATEWAY) if _is_served_by(gateway, pod)]
        if serves:
            message = f"is to serve {serves[0]}, and was started without Greenroom's Envoy"
        elif of_app_mesh:
            message = "has App Mesh's sidecar, which nobody tells anything any more"
        else:
            continue
        name, cure = _restart(pod)
        yield Finding("NotGreenroomsEnvoy", (name,), message, cure)


def routes(known: Known) -> Iterator[Finding]:
    """GatewayRoutes without a mesh or a VirtualGateway, with several, or wrong in themselves."""
    meshes = Parser(MESH, parse_mesh).read(known)
    gateways = Parser(VIRTUAL_GATEWAY, parse_virtual_gateway).read(known)
    membership = Membership(known, meshes)
    found = Parser(GATEWAY_ROUTE, parse_gateway_route).read(known)
    placed = found.map(lambda route: membership.gateway_of(route, gateways))
    for ref, why in (*meshes.refused.items(), *placed.refused.items()):
        yield Finding(why.reason, (told(ref),), str(why), _cure(known, ref, why, meshes, gateways))


def _cure(known: Known, ref: Ref, why: Refused, meshes: Results[Mesh], gateways: Results[VirtualGateway]) -> str:
    if why.reason in {"NoMesh", "SeveralMeshes"}:
        selectors = {each.ref: each.namespaces for each in meshes.values.values()}
    elif why.reason in {"NoVirtualGateway", "SeveralVirtualGateways"}:
        selectors = {each.ref: each.namespaces for each in gateways.values.values()}
    else:
        return on(ref, "edit")
    namespace = known.get(Ref(NAMESPACE, "", ref.namespace))
    labels = {} if namespace is None else labels_of(namespace)
    selecting = sorted(each for each, wanted in selectors.items() if wanted is not None and wanted.matches(labels))
    if selecting:
        return "\n".join(on(each, "edit") for each in selecting)
    nearest = sorted(selectors, key=lambda each: (each.namespace != ref.namespace, each))
    simple = (each.labels for each in map(selectors.__getitem__, nearest) if each is not None and not each.terms)
    labelled = next(simple, ())
    if not labelled:
        kind = MESH if why.reason == "NoMesh" else VIRTUAL_GATEWAY
        return kubectl("get", str(kind).lower(), "-A", "-o", "yaml")
    pairs = (f"{key}={value}" for key, value in labelled)
    return kubectl("label", "namespace", ref.namespace, *pairs, "--overwrite")


def _is_answered(known: Known, namespace: str, service: str) -> bool:
    return any(
        get(endpoint, "conditions", "ready") is not False
        for each in known.list(ENDPOINT_SLICE)
        if ref_of(each).namespace == namespace and labels_of(each).get(SERVICE_LABEL) == service
        for endpoint in items(each, "endpoints")
    )


def _is_served_by(gateway: Manifest, pod: Manifest) -> bool:
    if ref_of(gateway).namespace != ref_of(pod).namespace or _container(pod) is None:
        return False
    try:
        selected = selector(gateway, "podSelector")
    except Refused:
        return False
    return selected is not None and selected.matches(labels_of(pod))


def _container(pod: Manifest) -> Json:
    return next((each for each in items(pod, "spec", "containers") if text(each, "name") == CONTAINER), None)


def _is_injected(pod: Manifest) -> bool:
    return any(text(volume, "name") == VOLUME for volume in items(pod, "spec", "volumes"))


def _restart(pod: Manifest) -> tuple[str, str]:
    """What the pod belongs to, and the command that starts its pods anew."""
    owner, ref = controller_of(pod), ref_of(pod)
    kind, name = text(owner, "kind"), text(owner, "name")
    revision = labels_of(pod).get("pod-template-hash", "")
    if kind == "ReplicaSet" and revision and name.endswith(f"-{revision}"):  # as the Deployment's controller names them
        kind, name = "Deployment", name.removesuffix(f"-{revision}")
    if kind not in {"Deployment", "StatefulSet", "DaemonSet"}:
        return told(ref), on(ref, "delete")
    workload = Ref(Kind("apps", "v1", kind), ref.namespace, name)
    return told(workload), kubectl("rollout", "restart", f"{kind.lower()}/{name}", namespace=ref.namespace)
