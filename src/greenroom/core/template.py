"""A ReviewApp's resources and a PR object's wishes -> the objects of one environment.

``{{ NAME }}`` is replaced in text values, in one pass: what a value brings in is never looked at again, so that a
branch or variable with braces in it stays text. What the pull request itself brings in is subject to
``core.pull_variables``. Keys are left alone. Anything in double braces that is no variable of
ours stays as it stands, since templates carry the braces of other tools, and is reported.

``core.plan`` compares the result with what there is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from greenroom.core.autoscaling import left_to_autoscalers
from greenroom.core.pull_variables import NAMES as PULL_VARIABLES
from greenroom.core.pull_variables import filled_in, pull_variables
from greenroom.model.environment import RESTARTED_ANNOTATION, Environment, label_value
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
_JOB = ("batch", "Job")
_RUNNING = frozenset({*_POD_TEMPLATES, ("apps", "ReplicaSet"), ("", "Pod")} - {_JOB})
"""What runs a commit is marked with it. All else is not, so that a push writes only what it changes. Of Jobs those are
that name the commit: any other is not run again for the next."""


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
        is_marked = _group_kind(rendered) in _RUNNING or (_group_kind(rendered) == _JOB and _names_commit(resource))
        running = _restarted(_with_variables(rendered, extra), environment)
        manifests.append(_with_metadata(running, environment, owner, is_marked=is_marked))
    refuse_duplicates(manifests)
    return Rendered(left_to_autoscalers(manifests), tuple(pass_.left))


def variables_of(environment: Environment) -> dict[str, str]:
    """An environment that names no commit has no commit variables: using them is an error, not an empty text."""
    variables = {"PR_NUMBER": environment.number, **pull_variables(environment.pull)}
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
        if "{{" not in value:
            return value
        return _BRACES.sub(lambda braces: self._replacement(braces, path, value[: braces.start()]), value)

    def _replacement(self, braces: re.Match[str], path: str, before: str) -> str:
        name, _, filtered = (part.strip() for part in braces[1].partition("|"))
        if name in PULL_VARIABLES:
            return self._of_pull(name, filtered, path, before)
        if name in self.variables and not filtered:
            return self.variables[name]
        if name in COMMIT_VARIABLES and not filtered:
            raise InvalidInput(
                f"{braces[0]} is used, but the PR object names no commit",
                path=path,
                cure="set spec.headCommitRef of the PR object",
            )
        self.left.append(f"{path}: {braces[0][:80]}")
        return braces[0]

    def _of_pull(self, name: str, filtered: str, path: str, before: str) -> str:
        if name not in self.variables:
            cure = "set spec.pullRequest of the PR object"
            raise InvalidInput(f"{name} is used, but the PR object does not tell it", path=path, cure=cure)
        return filled_in(name, self.variables[name], filtered, path, before=before)


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


def _group_kind(manifest: Manifest) -> tuple[str, str]:
    kind = kind_of(manifest)
    return kind.group, kind.name


def _names_commit(value: Json) -> bool:
    """Whether somewhere in a template the commit is filled in."""
    if isinstance(value, str):
        return any(name.strip() in COMMIT_VARIABLES for name in _BRACES.findall(value))
    if isinstance(value, Mapping):
        return any(map(_names_commit, value.values()))
    return isinstance(value, Sequence) and any(map(_names_commit, value))


def _with_metadata(
    resource: Manifest, environment: Environment, owner: Mapping[str, Json], *, is_marked: bool
) -> Manifest:
    """In the environment's namespace, whatever the template says, marked as a part of it, and with its commit."""
    metadata = {key: value for key, value in table(resource, "metadata").items() if key not in _SERVER_FIELDS}
    annotations = {**table(metadata, "annotations")}
    if environment.commit and is_marked:
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
    template = _POD_TEMPLATES.get(_group_kind(resource))
    if not extra or template is None:
        return resource
    pod = table(resource, *template, "spec")
    containers = {
        field: [_merged(container, extra) for container in items(pod, field)]
        for field in ("containers", "initContainers")
        if field in pod
    }
    return _replaced(resource, (*template, "spec"), {**pod, **containers}) if containers else resource


def _restarted(resource: Manifest, environment: Environment) -> Manifest:
    """With the time of the last ``/preview redeploy`` in the pods' template, so that they are started anew, as
    ``kubectl rollout restart`` does it. A Job has run, and is not run again."""
    kind = kind_of(resource)
    template = _POD_TEMPLATES.get((kind.group, kind.name))
    if not environment.restarted_at or template is None or kind.group == "batch":
        return resource
    path = (*template, "metadata")
    metadata = table(resource, *path)
    annotations = {**table(metadata, "annotations"), RESTARTED_ANNOTATION: environment.restarted_at}
    inner = {**table(resource, *template), "metadata": {**metadata, "annotations": annotations}}
    return _replaced(resource, template, inner) if table(resource, *template) else resource


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
