"""Kubeconfig files: several merged as kubectl does, and of the result one context as a ``Connection``.

The format is Kubernetes' ``Config`` (``clientcmd.k8s.io/v1``). Every field that says how to connect is understood, or
refused by name: to ignore one would end in a puzzling 401. What an entry means is in ``adapters.kubeconfig_entries``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from greenroom.adapters.kube_connection import Connection
from greenroom.adapters.kubeconfig_entries import Entry, cluster_connection, with_user
from greenroom.model.errors import InvalidInput
from greenroom.model.manifest import Json, items, table, text

_KINDS = ("context", "cluster", "user")


def load(*paths: Path, context: str = "") -> Connection:
    """The connection of ``context``, by default the current one, from the kubeconfigs at ``paths``.

    Of several files the first to name something wins, whole: an entry is never put together from two. Those that do
    not exist are skipped, unless none does. Raises InvalidInput, with the file and the field that is wrong.
    """
    merged = _Merged()
    present = [path for path in paths if path.exists()]
    if not present:
        source = ":".join(str(path) for path in paths)
        raise InvalidInput("there is no such kubeconfig", source=source)
    for path in present:
        merged.add(path, _read(path))
    return merged.connection(context)


def _read(path: Path) -> Json:
    try:
        content: Json = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", source=str(path)) from error
    except yaml.YAMLError:
        # The parser's own text, and the chained error, would quote the line, which may hold the token.
        raise InvalidInput("is not valid YAML", source=str(path)) from None
    if content is not None and not isinstance(content, Mapping):
        raise InvalidInput("is no kubeconfig", source=str(path))
    return content


@dataclass(slots=True)
class _Merged:
    """Entries by kind and name, each with the file that it stands in: its paths are relative to that."""

    sources: list[Path] = field(default_factory=list)
    current: str = ""
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)

    def add(self, path: Path, content: Json) -> None:
        self.sources.append(path)
        self.current = self.current or text(content, "current-context")
        for kind in _KINDS:
            for name, entry in _named(path, content, kind).items():
                self.entries.setdefault((kind, name), entry)

    def connection(self, context: str) -> Connection:
        wanted = context or self.current
        if not wanted:
            raise self._wrong("is missing", "current-context", cure="name one with --context")
        chosen = self._entry("context", wanted)
        cluster = self._entry("cluster", chosen.required("cluster"))
        connection = cluster_connection(cluster, namespace=chosen.text("namespace") or "default")
        user = chosen.text("user")
        return with_user(connection, self._entry("user", user), cluster) if user else connection

    def _entry(self, kind: str, name: str) -> Entry:
        found = self.entries.get((kind, name))
        if found is None:
            raise self._wrong(f"there is no {kind} called {name!r}", f"{kind}s")
        return found

    def _wrong(self, message: str, path: str, *, cure: str = "") -> InvalidInput:
        return InvalidInput(message, source=":".join(str(source) for source in self.sources), path=path, cure=cure)


def _named(path: Path, content: Json, kind: str) -> Mapping[str, Entry]:
    """The entries of one file's list ``<kind>s``. Raises InvalidInput for a name that stands there twice."""
    found: dict[str, Entry] = {}
    listed: Sequence[Json] = items(content, f"{kind}s")
    for item in listed:
        name = text(item, "name")
        if name in found:
            raise InvalidInput(f"there are two called {name!r}", source=str(path), path=f"{kind}s")
        found[name] = Entry(path, f"{kind}s[].{kind}", table(item, kind))
    return found
