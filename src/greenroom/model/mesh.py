"""AWS App Mesh's objects as the gateway reads them: what selects what, what points where.

Group ``appmesh.k8s.aws/v1beta2``, as in aws/aws-app-mesh-controller-for-k8s ``apis/appmesh/v1beta2``. Parsing applies
the defaults of its mutating webhooks and refuses, by name, each field that the gateway would otherwise have to
ignore. Fields which those webhooks wrote (``meshRef``, ``virtualGatewayRef``) are let through and not believed:
membership follows from selectors. The larger kinds have modules of their own beside this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from greenroom.model.errors import InvalidInput
from greenroom.model.manifest import Json, Kind, Manifest, Ref, get, items, ref_of, table, text

GROUP = "appmesh.k8s.aws"
MESH = Kind(GROUP, "v1beta2", "Mesh")
VIRTUAL_GATEWAY = Kind(GROUP, "v1beta2", "VirtualGateway")
GATEWAY_ROUTE = Kind(GROUP, "v1beta2", "GatewayRoute")
VIRTUAL_SERVICE = Kind(GROUP, "v1beta2", "VirtualService")
VIRTUAL_NODE = Kind(GROUP, "v1beta2", "VirtualNode")
VIRTUAL_ROUTER = Kind(GROUP, "v1beta2", "VirtualRouter")
KINDS = (MESH, VIRTUAL_GATEWAY, GATEWAY_ROUTE, VIRTUAL_SERVICE, VIRTUAL_ROUTER, VIRTUAL_NODE)


class Refused(InvalidInput):
    """An object, or one that it needs, stays out of the gateway. ``reason`` is CamelCase, for its condition."""

    def __init__(self, reason: str, message: str, *, path: str = "") -> None:
        super().__init__(message, path=path)
        self.reason = reason


def invalid(path: str, message: str) -> Refused:
    return Refused("Invalid", message, path=path)


@dataclass(frozen=True, slots=True)
class Selector:
    """A Kubernetes label selector. What a missing one means differs from field to field, so that is None, not this."""

    labels: tuple[tuple[str, str], ...] = ()
    terms: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    """``matchExpressions``: key, operator, values."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(key) == value for key, value in self.labels) and all(
            _holds(labels.get(key), operator, values) for key, operator, values in self.terms
        )


def _holds(value: str | None, operator: str, values: tuple[str, ...]) -> bool:
    match operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case _:
            return value is None


@dataclass(frozen=True, slots=True)
class Mesh:
    ref: Ref
    aws_name: str
    namespaces: Selector | None
    """None selects no namespace, an empty selector every one."""
    remark: str = ""
    """What its owner should know of fields without effect."""


@dataclass(frozen=True, slots=True)
class VirtualService:
    ref: Ref
    aws_name: str
    provider: Ref
    """A VirtualNode or a VirtualRouter."""


def parse_mesh(manifest: Manifest) -> Mesh:
    """Raises Refused. What was about sidecars has to be right, and has no effect."""
    check_supported(manifest, _MESH)
    ref = ref_of(manifest)
    aws_name = plain(text(manifest, "spec", "awsName") or ref.name, "spec.awsName")
    egress = _choice(manifest, ("ALLOW_ALL", "DROP_ALL"), "egressFilter", "type")
    addresses = _choice(manifest, ("IPv4_ONLY", "IPv6_ONLY"), "meshServiceDiscovery", "ipPreference")
    remarks = [
        f"{field} has no effect: {why}"
        for field, why, has_none in (
            ("spec.egressFilter", "applications have no sidecar that could drop requests", egress == "DROP_ALL"),
            ("spec.meshServiceDiscovery", "pods are reached at the addresses that Kubernetes tells", addresses),
        )
        if has_none
    ]
    return Mesh(ref, aws_name, selector(manifest, "namespaceSelector"), "; ".join(remarks))


def _choice(manifest: Manifest, choices: tuple[str, str], *path: str) -> str:
    """``""`` when there is none. Raises Refused."""
    value = get(manifest, "spec", *path)
    if value is None:
        return ""
    if not isinstance(value, str) or value not in choices:
        raise invalid(".".join(("spec", *path)), f"must be {' or '.join(choices)}")
    return value


def parse_virtual_service(manifest: Manifest) -> VirtualService:
    """Raises Refused. The default name has a dot where other kinds have an underscore (virtualservice_mutator.go)."""
    check_supported(manifest, _VIRTUAL_SERVICE)
    ref = ref_of(manifest)
    aws_name = text(manifest, "spec", "awsName") or f"{ref.name}.{ref.namespace}"
    return VirtualService(ref, plain(aws_name, "spec.awsName"), _provider(manifest, ref.namespace))


def _provider(manifest: Manifest, namespace: str) -> Ref:
    path, provider = "spec.provider", get(manifest, "spec", "provider")
    given = [(field, kind) for field, kind in _PROVIDERS.items() if get(provider, field) is not None]
    if not given:
        raise Refused("NoProvider", "names neither a virtualNode nor a virtualRouter, so nothing can answer", path=path)
    if len(given) > 1:
        raise invalid(path, "must have only one of virtualNode and virtualRouter")
    ((field, kind),) = given
    if get(provider, field, f"{field}ARN") is not None:
        raise invalid(f"{path}.{field}.{field}ARN", f"is an object of AWS: use {field}Ref")
    found = reference(get(provider, field, f"{field}Ref"), kind, namespace)
    if found is None:
        raise invalid(f"{path}.{field}.{field}Ref.name", f"names no {kind.name}, so nothing can answer")
    return found


def selector(manifest: Manifest, field: str) -> Selector | None:
    """The label selector at ``spec.<field>``, None when there is none. Raises Refused."""
    found = get(manifest, "spec", field)
    return None if found is None else label_selector(found, f"spec.{field}")


def label_selector(value: Json, path: str) -> Selector:
    """``value``, which is found at ``path``. Raises Refused."""
    labels = tuple((key, wanted) for key, wanted in table(value, "matchLabels").items() if isinstance(wanted, str))
    terms = []
    for index, term in enumerate(items(value, "matchExpressions")):
        operator = text(term, "operator")
        if operator not in {"In", "NotIn", "Exists", "DoesNotExist"}:
            raise invalid(f"{path}.matchExpressions[{index}].operator", "must be In, NotIn, Exists or DoesNotExist")
        values = tuple(each for each in items(term, "values") if isinstance(each, str))
        terms.append((text(term, "key"), operator, values))
    return Selector(labels, tuple(terms))


def reference(value: Json, kind: Kind, namespace: str) -> Ref | None:
    """The object that a ``…Ref`` names, by default in ``namespace``, that of the object that refers to it."""
    name = text(value, "name")
    return Ref(kind, text(value, "namespace") or namespace, name) if name else None


def plain(value: str, path: str) -> str:
    """``value``, which Envoy and HTTP can carry. Raises Refused for control characters and broken Unicode."""
    if not value.isprintable():
        raise invalid(path, "has characters that cannot be printed")
    return value


Shape: TypeAlias = "Mapping[str, Shape | None]"
"""The steps that are understood: ``field``, and ``[*]`` for each item. None lets everything below through."""


def check_supported(manifest: Manifest, shape: Shape) -> None:
    """Raises Refused, naming the first field of ``spec`` that is not understood."""
    _check(get(manifest, "spec"), shape, "spec")


def _check(value: Json, shape: Shape, path: str) -> None:
    for step, where, below in _steps(value, path):
        if step not in shape:
            raise Refused("NotSupportedYet", "not supported by this gateway yet", path=where)
        inner = shape[step]
        if inner is not None:
            _check(below, inner, where)


def _steps(value: Json, path: str) -> list[tuple[str, str, Json]]:
    """Step, path and what is there."""
    if isinstance(value, Mapping):
        found = [(field, f"{path}.{field}", below) for field, below in value.items()]
    else:
        found = [("[*]", f"{path}[{index}]", below) for index, below in enumerate(items(value))]
    return [each for each in found if each[2] is not None]


_MESH: Shape = {
    "awsName": None,
    "meshOwner": None,
    "namespaceSelector": None,
    "egressFilter": {"type": None},
    "meshServiceDiscovery": {"ipPreference": None},
}
_VIRTUAL_SERVICE: Shape = {
    "awsName": None,
    "meshRef": None,
    "provider": {
        "virtualNode": {"virtualNodeRef": None, "virtualNodeARN": None},
        "virtualRouter": {"virtualRouterRef": None, "virtualRouterARN": None},
    },
}
_PROVIDERS = {"virtualNode": VIRTUAL_NODE, "virtualRouter": VIRTUAL_ROUTER}
