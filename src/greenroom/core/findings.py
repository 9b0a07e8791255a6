"""What ``greenroom doctor`` says of a cluster, and what its checks are made of. ``core.doctor`` lists them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from greenroom.model.manifest import Kind, Manifest, Ref, ref_of


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be, and the commands that cure it, a line each.

    ``reason`` is CamelCase, for programs. What is ``harmless`` needs nobody, and is told so that nobody wonders.
    """

    reason: str
    objects: tuple[str, ...]
    message: str
    cure: str = ""
    harmless: bool = False


class Known:
    """What was read of a cluster. Of a kind that is not ``served`` there are no objects."""

    def __init__(self, objects: Mapping[Kind, Sequence[Manifest]], served: Collection[Kind]) -> None:
        self.served = frozenset(served)
        self._objects = objects
        self._by_ref = {ref_of(each): each for manifests in objects.values() for each in manifests}

    def get(self, ref: Ref) -> Manifest | None:
        return self._by_ref.get(ref)

    def list(self, kind: Kind) -> Iterable[Manifest]:
        return self._objects[kind]


@dataclass(frozen=True, slots=True)
class Check:
    """``find`` looks at the objects of the kinds that it ``reads``, and at no others."""

    name: str
    reads: tuple[Kind, ...]
    find: Callable[[Known], Iterable[Finding]]
    repeats: bool = False
    """Whether it may tell what another check has told with a better cure, which is then enough."""


def told(ref: Ref) -> str:
    """As people say it: ``GatewayRoute pr-env/web``."""
    return f"{ref.kind.name} {ref.namespace}/{ref.name}" if ref.namespace else f"{ref.kind.name} {ref.name}"


def command(*words: str) -> str:
    """To paste into a shell, which takes them for words, whatever an object is called."""
    return shlex.join(words)


def kubectl(*words: str, namespace: str = "") -> str:
    return command("kubectl", *(("-n", namespace) if namespace else ()), *words)


def on(ref: Ref, verb: str, *words: str) -> str:
    """The command that does ``verb`` to one object, whose kind is named in full: Istio, too, has VirtualServices."""
    return kubectl(verb, f"{str(ref.kind).lower()}/{ref.name}", *words, namespace=ref.namespace)
