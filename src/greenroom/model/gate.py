"""A ReviewApp's gate: which pull requests get an environment. ``core.gate`` asks it.

All that is given must hold, and what is left out lets everything through, forks excepted. ``expression`` is for what
the other fields cannot say: CEL, the language that Kubernetes has for such things (https://cel.dev).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from enum import Enum
from functools import lru_cache
from typing import Any

from greenroom.model.errors import InvalidInput
from greenroom.model.manifest import Json, get

PATTERNS_LIMIT = 100
PATTERN_LIMIT = 256
EXPRESSION_LIMIT = 1024
VISIBLE = r"[^ \t\n\r]"
"""A text has to have one of these. (What else is a space differs between Python and Go, which reads it in the CRD.)"""


class Forks(Enum):
    """Whether pull requests from other repositories get an environment: one that runs what a stranger wrote."""

    NEVER = "never"
    APPROVED = "approved"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Choice:
    """Patterns: something has to match one of ``any``, if there are any, and nothing one of ``none``."""

    any: tuple[str, ...] = ()
    none: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Labels(Choice):
    """As a Choice, and ``all`` have to be on. Letter case makes no difference, as on GitHub."""

    all: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gate:
    """``approval_label`` approves the commit that was the head when it was put on; a review always can."""

    labels: Labels = Labels()
    drafts: bool = True
    bots: bool = True
    forks: Forks = Forks.NEVER
    approval_label: str = ""
    authors: Choice = Choice()
    base_branches: Choice = Choice()
    title: Choice = Choice()
    paths: Choice = Choice()
    expression: str = ""

    @classmethod
    def parse(cls, found: Json) -> Gate:
        """Raises InvalidInput with the path, below ``spec``, of the first field that is wrong."""
        spec = _mapping(found, "gate", FIELDS)
        if spec.get("approvalLabel") is not None and spec.get("forks") != Forks.APPROVED.value:
            cure = "write forks: approved, or leave it out"
            raise InvalidInput("has a meaning with forks: approved only", path="gate.approvalLabel", cure=cure)
        return cls(
            labels=Labels(
                **_patterns(spec.get("labels"), "gate.labels", ("any", "all", "none")),
            ),
            drafts=_flag(spec, "drafts"),
            bots=_flag(spec, "bots"),
            forks=_forks(spec.get("forks")),
            approval_label=_words(spec, "approvalLabel", PATTERN_LIMIT),
            authors=_choice(spec, "authors"),
            base_branches=_choice(spec, "baseBranches"),
            title=_choice(spec, "title"),
            paths=_choice(spec, "paths"),
            expression=_expression(_words(spec, "expression", EXPRESSION_LIMIT)),
        )

    @property
    def needs_paths(self) -> bool:
        return self.paths != Choice()


FIELDS = (
    "labels",
    "drafts",
    "bots",
    "forks",
    "approvalLabel",
    "authors",
    "baseBranches",
    "title",
    "paths",
    "expression",
)
assert len(FIELDS) == len(fields(Gate))  # noqa: S101 - of this module with itself

VARIABLES: Mapping[str, Any] = {
    "number": 0,
    "title": "",
    "branch": "",
    "base": "",
    "author": "",
    "association": "",
    "labels": [],
    "bot": False,
    "draft": False,
    "fork": False,
}
"""The names that an expression may use, each with a value of its type."""


class ExpressionError(Exception):
    """An expression has no answer for these values, or none that is true or false."""


def evaluate(expression: str, values: Mapping[str, Any]) -> bool:
    """Raises ExpressionError."""
    try:
        answer = _compiled(expression).execute(dict(values))
    except Exception as error:  # the library tells an index, a key, a type and a missing function each by another
        raise ExpressionError(_first_line(error)) from error
    if not isinstance(answer, bool):
        raise ExpressionError(f"it is {answer!r}, neither true nor false")
    return answer


@lru_cache(maxsize=64)
def _compiled(expression: str) -> Any:
    import cel  # noqa: PLC0415 - takes a third of a second, and few need it

    return cel.compile(expression)


def _expression(found: str) -> str:
    if found:
        try:
            evaluate(found, VARIABLES)
        except ExpressionError as error:
            raise InvalidInput(
                f"not an expression that can be asked of a pull request: {error}",
                path="gate.expression",
                cure=f"write CEL that is true or false, of {', '.join(VARIABLES)}: !title.startsWith('WIP')",
            ) from error
    return found


def _first_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error).strip().partition("\n")[0])[:200]


def _mapping(found: Json, path: str, known: Sequence[str]) -> Mapping[str, Json]:
    if not isinstance(found, Mapping):
        raise InvalidInput("must be a mapping", path=path, cure=f"its fields are {', '.join(known)}")
    for field in found:
        if field not in known:
            close = get_close_matches(field, known, n=1, cutoff=0.5)
            cure = f"did you mean {close[0]}?" if close else f"the fields are {', '.join(known)}"
            raise InvalidInput("unknown field", path=f"{path}.{field}", cure=cure)
    if not found:
        raise InvalidInput("is empty", path=path, cure=f"leave it out, or give it one of {', '.join(known)}")
    return found


def _flag(spec: Mapping[str, Json], field: str) -> bool:
    found = spec.get(field)
    if found is not None and not isinstance(found, bool):
        raise InvalidInput("must be true or false", path=f"gate.{field}", cure="write it without quotes")
    return found is not False


def _forks(found: Json) -> Forks:
    if found is None:
        return Forks.NEVER
    values = [each.value for each in Forks]
    if found not in values:
        raise InvalidInput(f"{found!r} is not known", path="gate.forks", cure=f"write one of {', '.join(values)}")
    return Forks(found)


def _words(spec: Mapping[str, Json], field: str, limit: int) -> str:
    found = spec.get(field)
    if found is None:
        return ""
    if not isinstance(found, str) or not re.search(VISIBLE, found):
        raise InvalidInput("must be text", path=f"gate.{field}", cure="put it in quotes, or leave the field out")
    if len(found) > limit:
        raise InvalidInput(f"is longer than {limit} characters", path=f"gate.{field}", cure="shorten it")
    return found


def _choice(spec: Mapping[str, Json], field: str) -> Choice:
    return Choice(**_patterns(spec.get(field), f"gate.{field}", ("any", "none")))


def _patterns(found: Json, path: str, known: Sequence[str]) -> dict[str, tuple[str, ...]]:
    if found is None:
        return {}
    return {name: _list(get(found, name), f"{path}.{name}") for name in _mapping(found, path, known)}


def _list(found: Json, path: str) -> tuple[str, ...]:
    if found is None:
        return ()
    if not isinstance(found, Sequence) or isinstance(found, str):
        raise InvalidInput("must be a list", path=path, cure="write it as [one, another]")
    if not found:
        # Nothing can match it, or everything does: whoever wrote it may have meant either.
        raise InvalidInput("is empty", path=path, cure="leave it out, or name something")
    if len(found) > PATTERNS_LIMIT:
        raise InvalidInput(f"has more than {PATTERNS_LIMIT} entries", path=path, cure="use patterns with *")
    return tuple(_checked(found, path))


def _checked(found: Iterable[Json], path: str) -> Iterable[str]:
    for index, item in enumerate(found):
        if not isinstance(item, str) or not re.search(VISIBLE, item) or len(item) > PATTERN_LIMIT:
            cure = f"put it in quotes; {PATTERN_LIMIT} characters at most"
            raise InvalidInput("must be text", path=f"{path}[{index}]", cure=cure)
        yield item
