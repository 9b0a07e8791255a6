"""A ReviewApp: the template of what every pull request of a repository gets. ``core.template`` fills it in.

The contract is KubeTempura's: ``githubRepository`` and ``resources``, any Kubernetes objects whose fields nobody here
needs to know. New are some that may be left out. With ``serviceAccountName`` who writes a ReviewApp gets no more from
it than that account may do; ``gate`` says which pull requests get an environment; ``buildWorkflow`` names what builds
their images (``core.build``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from greenroom.model.errors import InvalidInput
from greenroom.model.gate import Gate
from greenroom.model.manifest import GROUP, NAME_LIMIT, Json, Manifest, get, kind_of, name_of, ref_of, text

SPEC_FIELDS = ("githubRepository", "resources", "serviceAccountName", "gate", "buildWorkflow")
REPOSITORY = re.compile(r"(?i:https?)://[^<>]+")
"""The address of a repository, with nothing left to fill in. ``model.crds`` lets Kubernetes check the same."""
REPOSITORY_CURE = "write it as in the browser, without < and >: https://github.com/OWNER/REPOSITORY"
ACCOUNT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
"""The name of a ServiceAccount: a DNS subdomain name (Kubernetes, "Object Names and IDs"). Checked there, too."""


@dataclass(frozen=True, slots=True)
class ReviewApp:
    """``resources`` are as they were written, placeholders included. ``service_account`` is the ServiceAccount of the
    namespace that makes them, ``""`` for Greenroom's own. Without a ``gate`` every open pull request is taken."""

    namespace: str
    name: str
    repository: str
    resources: tuple[Manifest, ...]
    service_account: str = ""
    gate: Gate | None = None

    @property
    def user(self) -> str:
        """``service_account`` as the API server calls it when it makes requests; ``""`` for Greenroom's own."""
        return f"system:serviceaccount:{self.namespace}:{self.service_account}" if self.service_account else ""

    @classmethod
    def parse(cls, manifest: Manifest, *, source: str = "") -> ReviewApp:
        """Raises InvalidInput with the path of the first field that is wrong. ``source`` is the file it came from."""
        try:
            return _parse(manifest)
        except InvalidInput as error:
            raise InvalidInput(error.problem, source=source, path=error.path, cure=error.cure) from error


def identity(resource: Manifest) -> tuple[str, str, str]:
    """What two objects of a namespace may not share: group, kind and name, whatever the version."""
    kind = kind_of(resource)
    return kind.group, kind.name, name_of(resource)


def _parse(manifest: Manifest) -> ReviewApp:
    name = _text(manifest, "metadata", "name")
    spec = get(manifest, "spec")
    if not isinstance(spec, Mapping):
        raise InvalidInput("must be a mapping", path="spec", cure="give it githubRepository and resources")
    _refuse_unknown(spec)
    repository = _text(manifest, "spec", "githubRepository")
    if not REPOSITORY.fullmatch(repository):
        raise InvalidInput(
            f"{repository!r} is not the address of a repository",
            path="spec.githubRepository",
            cure=REPOSITORY_CURE,
        )
    account = _service_account(manifest)
    if get(manifest, "spec", "buildWorkflow") is not None:
        _text(manifest, "spec", "buildWorkflow")
    return ReviewApp(ref_of(manifest).namespace, name, repository, _resources(spec), account, gate_of(manifest))


def gate_of(app: Manifest) -> Gate | None:
    """The gate of a ReviewApp, whatever else may be wrong with that. Raises InvalidInput."""
    found = get(app, "spec", "gate")
    if found is None:
        return None
    try:
        return Gate.parse(found)
    except InvalidInput as error:
        raise InvalidInput(error.problem, path=f"spec.{error.path}", cure=error.cure) from error


def _refuse_unknown(spec: Mapping[str, Json]) -> None:
    for field in spec:
        if field not in SPEC_FIELDS:
            close = get_close_matches(field, SPEC_FIELDS, n=1, cutoff=0.5)
            cure = f"did you mean {close[0]}?" if close else f"the fields are {', '.join(SPEC_FIELDS)}"
            raise InvalidInput("unknown field", path=f"spec.{field}", cure=cure)


def _service_account(manifest: Manifest) -> str:
    if get(manifest, "spec", "serviceAccountName") is None:
        return ""
    name = _text(manifest, "spec", "serviceAccountName")
    if len(name) > NAME_LIMIT or not ACCOUNT_NAME.fullmatch(name):
        raise InvalidInput(
            f"{name[:NAME_LIMIT]!r} cannot be the name of a ServiceAccount",
            path="spec.serviceAccountName",
            cure="name one of the same namespace: lower case letters, digits, '-' and '.'",
        )
    return name


def _resources(spec: Mapping[str, Json]) -> tuple[Manifest, ...]:
    found = spec.get("resources")
    if not isinstance(found, Sequence) or isinstance(found, str):
        raise InvalidInput("must be a list", path="spec.resources", cure="list the objects that a pull request gets")
    resources = tuple(_resource(item, index) for index, item in enumerate(found))
    refuse_duplicates(resources)
    return resources


def _resource(item: Json, index: int) -> Manifest:
    path = f"spec.resources[{index}]"
    if not isinstance(item, Mapping):
        raise InvalidInput("must be a Kubernetes object", path=path, cure="give it apiVersion, kind and metadata.name")
    for steps in (("apiVersion",), ("kind",), ("metadata", "name")):
        _text(item, *steps, under=path)
    for field in ("labels", "annotations"):
        if not isinstance(get(item, "metadata", field), Mapping | None):
            raise InvalidInput("must be a mapping", path=f"{path}.metadata.{field}", cure="write it as name: value")
    if kind_of(item).group == GROUP:
        raise InvalidInput(
            f"a ReviewApp cannot make a {text(item, 'kind')}", path=f"{path}.kind", cure="take it out of the template"
        )
    return item


def refuse_duplicates(resources: Iterable[Manifest]) -> None:
    """Raise InvalidInput for a resource that has kind and name of an earlier one: each would undo the other."""
    seen: dict[tuple[str, str, str], int] = {}
    for index, resource in enumerate(resources):
        first = seen.setdefault(identity(resource), index)
        if first != index:
            raise InvalidInput(
                f"{kind_of(resource)} {name_of(resource)!r} is in spec.resources[{first}] already",
                path=f"spec.resources[{index}].metadata.name",
                cure="give it another name",
            )


def _text(value: Json, *steps: str, under: str = "") -> str:
    """The text at a path. Raises InvalidInput when it is missing, empty, or something else than text."""
    found = get(value, *steps)
    path = ".".join((under, *steps) if under else steps)
    if found is None:
        raise InvalidInput("is missing", path=path, cure="add it, as text")
    if not isinstance(found, str):
        raise InvalidInput(f"must be text, not {_type(found)}", path=path, cure="put it in quotes")
    if not found:
        raise InvalidInput("is empty", path=path, cure="fill it in")
    return found


def _type(value: Json) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, Sequence) else f"{value!r}"
