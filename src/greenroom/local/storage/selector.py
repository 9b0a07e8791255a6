"""Kubernetes label selectors, as lists and watches are given them: ``app=web,tier!=db,!canary,size in (s, m)``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from greenroom.model.errors import Invalid

_KEY = r"(?P<key>[A-Za-z0-9](?:[-A-Za-z0-9_./]*[A-Za-z0-9])?)"
_VALUE = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?|"
_EQUALITY = re.compile(rf"{_KEY}\s*(?P<operator>==|=|!=)\s*(?P<values>{_VALUE})")
_SET = re.compile(rf"{_KEY}\s+(?P<operator>in|notin)\s*\((?P<values>[^()]+)\)")
_EXISTENCE = re.compile(rf"(?P<operator>!?)\s*{_KEY}")
_BETWEEN_TERMS = re.compile(r",(?![^(]*\))")
_NEGATIVE = ("!=", "notin", "!")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term. ``values`` is None when any value will do; ``negated`` turns it around, and no label then matches."""

    key: str
    values: frozenset[str] | None
    negated: bool

    def holds(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        present = value is not None and (self.values is None or value in self.values)
        return present is not self.negated


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements together; with none it selects everything."""

    requirements: tuple[Requirement, ...]

    @classmethod
    def parse(cls, selector: str) -> Selector:
        """Raises Invalid."""
        return cls(tuple(map(_requirement, _BETWEEN_TERMS.split(selector)))) if selector.strip() else cls(())

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(requirement.holds(labels) for requirement in self.requirements)


def _requirement(term: str) -> Requirement:
    for pattern in (_EQUALITY, _SET, _EXISTENCE):
        if found := pattern.fullmatch(term.strip()):
            parts = found.groupdict()
            values = parts.get("values")
            chosen = None if values is None else frozenset(value.strip() for value in values.split(","))
            return Requirement(parts["key"], chosen, parts["operator"] in _NEGATIVE)
    raise Invalid(
        f'label selector: {term[:100]!r} is none of "key=value", "key!=value", "key", "!key", "key in (a, b)"'
    )
