"""An environment: what a PR object asks for. People write PR objects by hand, too, so every field is checked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from greenroom.model.errors import InvalidInput
from greenroom.model.manifest import (
    Json,
    Manifest,
    Ref,
    annotations_of,
    get,
    items,
    number,
    ref_of,
    table,
    text,
    uid_of,
)

LABEL_LIMIT = 63
"""Characters in a label's value: Kubernetes, "Labels and Selectors", syntax and character set."""

RESTARTED_ANNOTATION = "greenroom.dev/restarted-at"
"""On a PR object, and from there on its pods: when somebody last asked that they be started anew."""

VARIABLE_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


@dataclass(frozen=True, slots=True)
class Environment:
    """``number`` is text, as in the object; ``commit`` is ``""`` when the object names none.

    ``variables`` go into the environment of every container. Their values are not templated yet. ``pull`` is what is
    known of the pull request besides (``spec.pullRequest``), and may be empty.
    """

    ref: Ref
    uid: str
    generation: int
    review_app: str
    number: str
    commit: str
    variables: tuple[tuple[str, str], ...]
    pull: Mapping[str, Json] = field(default_factory=dict)
    restarted_at: str = ""

    @classmethod
    def parse(cls, manifest: Manifest) -> Environment:
        """Raises InvalidInput with the path of the first field that is wrong."""
        return cls(
            ref=ref_of(manifest),
            uid=uid_of(manifest),
            generation=number(manifest, "metadata", "generation"),
            review_app=_text(manifest, "parentReviewApp", cure="name the ReviewApp whose template it uses"),
            number=_text(manifest, "prNumber", cure='write the number in quotes: "7"'),
            commit=_text(manifest, "headCommitRef", default="", cure="write the commit in quotes"),
            variables=_variables(get(manifest, "spec", "envVars")),
            pull=table(manifest, "spec", "pullRequest"),
            restarted_at=annotations_of(manifest).get(RESTARTED_ANNOTATION, ""),
        )


def pr_name(review_app: str, pull_number: int) -> str:
    """The name of the PR object of a pull request: KubeTempura's, so that scripts find it."""
    return f"{review_app}-pr{pull_number}"


def label_value(pr: str) -> str:
    """The name of a PR object as the value of a label: shortened to what fits, and still its own."""
    if len(pr) <= LABEL_LIMIT:
        return pr
    digest = hashlib.sha256(pr.encode()).hexdigest()[:8]
    return f"{pr[: LABEL_LIMIT - 9].rstrip('-.')}-{digest}"


def _text(manifest: Manifest, field: str, *, cure: str, default: str | None = None) -> str:
    found = get(manifest, "spec", field)
    if found is None:
        found = default
    if not isinstance(found, str) or (default is None and not found):
        raise InvalidInput("is missing" if found is None else "must be text", path=f"spec.{field}", cure=cure)
    return found


def _variables(found: Json) -> tuple[tuple[str, str], ...]:
    if found is None:
        return ()
    if not isinstance(found, Sequence) or isinstance(found, str):
        raise InvalidInput("must be a list", path="spec.envVars", cure="write it as - name: …")
    return tuple(_variable(item, f"spec.envVars[{index}]") for index, item in enumerate(items(found)))


def _variable(item: Json, path: str) -> tuple[str, str]:
    name = text(item, "name")
    if not VARIABLE_NAME.fullmatch(name):
        raise InvalidInput(f"{name!r} names no variable", path=f"{path}.name", cure="letters, digits and underscores")
    value = get(item, "value")
    if value is None and isinstance(item, Mapping):
        return name, ""
    if not isinstance(value, str):
        raise InvalidInput("must be text", path=f"{path}.value", cure="put it in quotes")
    return name, value
