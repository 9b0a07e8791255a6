"""A ReviewApp's resources and a PR object's wishes -> the objects of one environment.

``{{ NAME }}`` is replaced in text values, in one pass: what a value brings in is never looked at again, so that a
branch or variable with braces in it stays text. Keys are left alone. Anything in double braces that is no variable of
ours stays as it stands, since templates carry the braces of other tools, and is reported.

``core.plan`` compares the result with what there is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from greenroom.core.autoscaling import left_to_autoscalers
from greenroom.model.environment import Environment, label_value
from greenroom.model.errors import InvalidInput
from greenroom.model.manifest import (
    COMMIT_ANNOTATION,
    ENVIRONMENT_LABEL,
    Json,
    Kind,
    Manifest,
    get,
    items,
    kind_of,
    name_of,
    table,
    text,
)
from greenroom.model.reviewapp import ReviewApp, refuse_duplicates

SHORT_COMMIT = 7
COMMIT_VARIABLES = frozenset({"COMMIT_REF", "COMMIT_REF_SHORT"})

_SERVER_FIELDS = frozenset(
    ("creationTimestamp", "deletionTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")
)
"""Fields of ``metadata`` that the server writes. Templates made with ``kubectl get -o yaml`` carry them."""

_BRACES = re.compile(r"\{\{([^{}]*)\}\}")
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_OBJECT_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")
_PATH_SEGMENT_NAME = re.compile(r"(?!\.{1,2}\Z)[^/%]{1,253}")
_POD_TEMPLATES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("apps", "Deployment"): ("spec", "template"),
    ("apps", "StatefulSet"): ("spec", "template"),
    ("apps", "DaemonSet"): ("spec", "template"),
    ("batch", "Job"): ("spec", "template"),
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}
_RUNNING = frozenset({*_POD_TEMPLATES, ("apps", "ReplicaSet"), ("", "Pod")} - {("batch", "Job")})
"""What runs a commit is marked with it. All else is not, so that a push writes only what it changes. Nor is a Job: one
that does not name the commit is not run again for the next."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """``manifests`` are ready to be applied; ``left`` are the braces that were left as they stand, with their paths."""

    manifests: tuple[Manifest, ...]
    left: tuple[str, ...]


def render(
    environment: Environment, app: ReviewApp, owner: Mapping[str, Json], is_namespaced: Callable[[Kind], bool]
) -> Rendered:
    """``owner`` is the owner reference of the PR object.

    Raises InvalidInput with the path in the ReviewApp (or the PR object, for its variables) when the result could not
    be applied as it was meant. Nothing is applied then, so that the environment stays as it was.
    """
    variables = variables_of(environment)
    pass_ = _Pass(variables)
    extra = [(name, pass_.text(value, f"envVars[{name}]")) for name, value in environment.variables]
    manifests = []
    for index, resource in enumerate(app.resources):
        path = f"spec.resources[{index}]"
        rendered = pass_.mapping(resource, path)
        _check_kind(rendered, resource, path)
        _check(rendered, path, is_namespaced)
        manifests.append(_with_metadata(_with_variables(rendered, extra), environment, owner))
    refuse_duplicates(manifests)
    return Rendered(left_to_autoscalers(manifests), tuple(pass_.left))


def variables_of(environment: Environment) -> dict[str, str]:
    """An environment that names no commit has no commit variables: using them is an error, not an empty text."""
    variables = {"PR_NUMBER": environment.number}
    if environment.commit:
        variables |= {"COMMIT_REF": environment.commit, "COMMIT_REF_SHORT": environment.commit[:SHORT_COMMIT]}
    return variables


@dataclass(slots=True)
class _Pass:
    """One walk over the values, remembering what it left."""

    variables: Mapping[str, str]
    left: list[str] = field(default_factory=list)

    def mapping(self, value: Mapping[str, Json], path: str) -> dict[str, Json]:
        return {key: self.value(item, f"{path}.{key}") for key, item in value.items()}

    def value(self, value: Json, path: str) -> Json:
        if isinstance(value, str):
            return self.text(value, path)
        if isinstance(value, Mapping):
            return self.mapping(value, path)
        if isinstance(value, Sequence):
            return [self.value(item, f"{path}[{index}]") for index, item in enumerate(value)]
        return value

    def text(self, value: str, path: str) -> str:
        return _BRACES.sub(lambda braces: self._replacement(braces, path), value) if "{{" in value else value

    def _replacement(self, braces: re.Match[str], path: str) -> str:
        name = braces[1].strip()
        if name in self.variables:
            return self.variables[name]
        if name in COMMIT_VARIABLES:
            raise InvalidInput(
                f"{braces[0]} is used, but the PR object names no commit",
                path=path,
                cure="set spec.headCommitRef of the PR object",
            )
        self.left.append(f"{path}: {braces[0][:80]}")
        return braces[0]


def _check_kind(resource: Manifest, template: Manifest, path: str) -> None:
    """What may be made, and where, is decided on the template: a pull request brings in no other kind."""
    for name in ("apiVersion", "kind"):
        if resource[name] != template[name]:
            raise InvalidInput("holds a variable", path=f"{path}.{name}", cure="write it out")


def _check(resource: Manifest, path: str, is_namespaced: Callable[[Kind], bool]) -> None:
    kind, name = kind_of(resource), name_of(resource)
    # RBAC names may hold colons and capitals: Kubernetes, "Object Names and IDs", path segment names.
    pattern = _PATH_SEGMENT_NAME if kind.group == "rbac.authorization.k8s.io" else _OBJECT_NAME
    if not pattern.fullmatch(name):
        raise InvalidInput(
            f"{name[:80]!r} is no name for a {kind.name}",
            path=f"{path}.metadata.name",
            cure="use small letters, digits and dashes, 253 at most",
        )
    if not is_namespaced(kind):
        raise InvalidInput(
            f"a {kind.name} belongs to no namespace, so every environment would share it",
            path=f"{path}.kind",
            cure="take it out of the template and apply it once",
        )


def _with_metadata(resource: Manifest, environment: Environment, owner: Mapping[str, Json]) -> Manifest:
    """In the environment's namespace, whatever the template says, and marked as a part of it."""
    metadata = {key: value for key, value in table(resource, "metadata").items() if key not in _SERVER_FIELDS}
    annotations = {**table(metadata, "annotations")}
    kind = kind_of(resource)
    if environment.commit and (kind.group, kind.name) in _RUNNING:
        annotations[COMMIT_ANNOTATION] = environment.commit
    return {
        **{key: value for key, value in resource.items() if key != "status"},
        "metadata": {
            **metadata,
            "namespace": environment.ref.namespace,
            "labels": {**table(metadata, "labels"), ENVIRONMENT_LABEL: label_value(environment.ref.name)},
            "annotations": annotations,
            "ownerReferences": [owner],
        },
    }


def _with_variables(resource: Manifest, extra: Sequence[tuple[str, str]]) -> Manifest:
    """Merge variables by name over ``env`` of every container of a workload."""
    kind = kind_of(resource)
    template = _POD_TEMPLATES.get((kind.group, kind.name))
    if not extra or template is None:
        return resource
    pod = table(resource, *template, "spec")
    containers = {
        field: [_merged(container, extra) for container in items(pod, field)]
        for field in ("containers", "initContainers")
        if field in pod
    }
    return _replaced(resource, (*template, "spec"), {**pod, **containers}) if containers else resource


def _merged(container: Json, extra: Iterable[tuple[str, str]]) -> Json:
    """The container's own order is kept: a variable may refer to those before it."""
    if not isinstance(container, Mapping):
        return container
    wanted = dict(extra)
    own = [_overridden(variable, wanted) for variable in items(container, "env")]
    present = {text(variable, "name") for variable in own}
    added = [{"name": name, "value": value} for name, value in wanted.items() if name not in present]
    return {**container, "env": [*own, *added]}


def _overridden(variable: Json, wanted: Mapping[str, str]) -> Json:
    name = text(variable, "name")
    return {"name": name, "value": wanted[name]} if name in wanted else variable


def _replaced(value: Mapping[str, Json], path: Sequence[str], replacement: Json) -> dict[str, Json]:
    """A copy in which the value at ``path``, which exists, is another."""
    step, *rest = path
    child = get(value, step)
    inner = _replaced(child, rest, replacement) if rest and isinstance(child, Mapping) else replacement
    return {**value, step: inner}
