"""Which kinds the one-machine cluster serves, and under which names.

The kinds of Kubernetes and those of the manifests that Greenroom runs are known. A template may name any other: a kind
of a foreign group is served as custom resources mostly are (namespaced, plural guessed), so that it can be stored.
But a kind that is missing from a group of Kubernetes itself is a typing error, and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from greenroom.model.errors import UnknownKind
from greenroom.model.manifest import GROUP, Kind
from greenroom.model.watch import Resource

# Kind, plural, short names; a cluster-scoped kind begins with an asterisk.
_BUILT_IN = {
    "v1": """
        ConfigMap configmaps cm
        Endpoints endpoints ep
        Event events ev
        LimitRange limitranges limits
        *Namespace namespaces ns
        *Node nodes no
        *PersistentVolume persistentvolumes pv
        PersistentVolumeClaim persistentvolumeclaims pvc
        Pod pods po
        PodTemplate podtemplates
        ReplicationController replicationcontrollers rc
        ResourceQuota resourcequotas quota
        Secret secrets
        Service services svc
        ServiceAccount serviceaccounts sa
    """,
    "apps/v1": """
        ControllerRevision controllerrevisions
        DaemonSet daemonsets ds
        Deployment deployments deploy
        ReplicaSet replicasets rs
        StatefulSet statefulsets sts
    """,
    "batch/v1": """
        CronJob cronjobs cj
        Job jobs
    """,
    "autoscaling/v1": "HorizontalPodAutoscaler horizontalpodautoscalers hpa",
    "autoscaling/v2": "HorizontalPodAutoscaler horizontalpodautoscalers hpa",
    "policy/v1": "PodDisruptionBudget poddisruptionbudgets pdb",
    "networking.k8s.io/v1": """
        Ingress ingresses ing
        *IngressClass ingressclasses
        NetworkPolicy networkpolicies netpol
    """,
    "rbac.authorization.k8s.io/v1": """
        *ClusterRole clusterroles
        *ClusterRoleBinding clusterrolebindings
        Role roles
        RoleBinding rolebindings
    """,
    "discovery.k8s.io/v1": "EndpointSlice endpointslices",
    "events.k8s.io/v1": "Event events ev",
    "coordination.k8s.io/v1": "Lease leases",
    "scheduling.k8s.io/v1": "*PriorityClass priorityclasses pc",
    "storage.k8s.io/v1": "*StorageClass storageclasses sc",
    "apiextensions.k8s.io/v1": "*CustomResourceDefinition customresourcedefinitions crd crds",
    "admissionregistration.k8s.io/v1": """
        *MutatingWebhookConfiguration mutatingwebhookconfigurations
        *ValidatingWebhookConfiguration validatingwebhookconfigurations
    """,
}

_CUSTOM = {
    f"{GROUP}/v1": """
        PR prs
        ReviewApp reviewapps
    """,
    "appmesh.k8s.aws/v1beta2": """
        *Mesh meshes
        BackendGroup backendgroups
        GatewayRoute gatewayroutes
        VirtualGateway virtualgateways
        VirtualNode virtualnodes
        VirtualRouter virtualrouters
        VirtualService virtualservices
    """,
    "gateway.networking.k8s.io/v1": """
        Gateway gateways gtw
        *GatewayClass gatewayclasses gc
        GRPCRoute grpcroutes
        HTTPRoute httproutes
    """,
    "gateway.networking.k8s.io/v1beta1": "ReferenceGrant referencegrants refgrant",
    "elbv2.k8s.aws/v1beta1": """
        *IngressClassParams ingressclassparams
        TargetGroupBinding targetgroupbindings
    """,
}


def _read(api_version: str, rows: str) -> Iterable[Resource]:
    for row in filter(None, map(str.split, rows.splitlines())):
        name, plural, *short_names = row
        kind = Kind.of(api_version, name.removeprefix("*"))
        yield Resource(kind, plural, not name.startswith("*"), tuple(short_names))


_KNOWN = {
    resource.kind: resource for table in (_BUILT_IN, _CUSTOM) for row in table.items() for resource in _read(*row)
}
_CLOSED_GROUPS = {GROUP, "appmesh.k8s.aws", *(Kind.of(api_version, "").group for api_version in _BUILT_IN)}
"""Groups whose kinds are all known: another one is a mistake, and not somebody's custom resource."""


class Kinds:
    """The kinds served: the known ones, and those met since."""

    def __init__(self, met: Iterable[Kind] = ()) -> None:
        self._resources = dict(_KNOWN)
        for kind in met:
            self.remember(kind)

    def all(self) -> Sequence[Resource]:
        return tuple(self._resources.values())

    def resource(self, kind: Kind) -> Resource:
        """How ``kind`` is, or would be, served. Raises UnknownKind for a kind that its group is known not to have."""
        found = self._resources.get(kind)
        if found is not None:
            return found
        if kind.group in _CLOSED_GROUPS or "." not in kind.group or not kind.version or not kind.name:
            raise UnknownKind(f'no kind "{kind.name}" in "{kind.api_version}"{_cure(kind)}')
        return Resource(kind, _plural(kind.name), namespaced=True)

    def serves(self, kind: Kind) -> bool:
        return kind in self._resources

    def remember(self, kind: Kind) -> None:
        self._resources[kind] = self.resource(kind)


def _cure(kind: Kind) -> str:
    """The kind that was probably meant: of that name in another version or group, or of a similar name."""
    names = {known.name for known in _KNOWN}
    close = get_close_matches(kind.name, names, n=1) if kind.name not in names else [kind.name]
    meant = sorted((known for known in _KNOWN if known.name in close), key=lambda known: known.group != kind.group)
    if not meant:
        return ": check apiVersion and kind"
    return f": did you mean {meant[0].name} in {meant[0].api_version}?"


def _plural(name: str) -> str:
    """As ``kubectl`` and code generators guess it: Policy -> policies, Mesh -> meshes, Widget -> widgets."""
    singular = name.lower()
    if singular.endswith("y") and singular[-2:-1] not in "aeiou":
        return f"{singular[:-1]}ies"
    return f"{singular}es" if singular.endswith(("s", "x", "z", "ch", "sh")) else f"{singular}s"
