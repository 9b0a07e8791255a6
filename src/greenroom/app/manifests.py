"""Reading manifests from YAML and JSON files, with errors that name the file, the line and the field.

``load`` answers documents that still know where each field stood, so that a check made long after parsing (see
``model.reviewapp``) can point at the line.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from greenroom.model.errors import InvalidInput
from greenroom.model.manifest import REVIEW_APP, Json, Manifest, kind_of, table, text
from greenroom.model.reviewapp import ReviewApp
from greenroom.model.watch import Resource

SUFFIXES = (".yaml", ".yml", ".json")
STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


class _Loader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: a duplicate key is an error, and ``2026-01-01`` is text, not a date."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True, slots=True)
class Document:
    """One object of a file, and the tree of nodes that knows its lines."""

    manifest: Manifest
    source: str
    node: yaml.MappingNode

    def line(self, path: str) -> int:
        """The line (from 1) of a field such as ``spec.resources[2].metadata``, or of its nearest parent."""
        node: yaml.Node = self.node
        line = node.start_mark.line
        for index, key in STEP.findall(path):
            found = _child(node, index, key)
            if found is None:
                break
            line, node = found
        return line + 1

    def at(self, path: str) -> str:
        return f"{self.source}:{self.line(path)}"


def _child(node: yaml.Node, index: str, key: str) -> tuple[int, yaml.Node] | None:
    if index and isinstance(node, yaml.SequenceNode) and int(index) < len(node.value):
        item = node.value[int(index)]
        return item.start_mark.line, item
    if key and isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == key:
                return name.start_mark.line, value
    return None


def load(paths: Sequence[str]) -> list[Document]:
    """Every object in the files, in the folders (not recursively), or on standard input (``-``).

    Raises InvalidInput for a file that cannot be read, is no YAML, or holds something that is no Kubernetes object;
    and for a ReviewApp that is wrong.
    """
    documents = [document for path in paths for source, content in _read(path) for document in _parse(source, content)]
    if not documents:
        raise InvalidInput("no objects found", source=", ".join(paths), cure="give a file with at least one manifest")
    for document in documents:
        check(document)
    return documents


def check(document: Document) -> None:
    """Raise InvalidInput, with file and line, when a ReviewApp is wrong."""
    if kind_of(document.manifest) != REVIEW_APP:
        return
    try:
        ReviewApp.parse(document.manifest)
    except InvalidInput as error:
        raise InvalidInput(error.problem, source=document.at(error.path), path=error.path, cure=error.cure) from error


def placed(manifest: Manifest, resource: Resource, namespace: str) -> Manifest:
    """The manifest in its own namespace, else in ``namespace``; in none when its kind belongs to none."""
    metadata = {key: value for key, value in table(manifest, "metadata").items() if key != "namespace"}
    place = {"namespace": text(manifest, "metadata", "namespace") or namespace} if resource.namespaced else {}
    return {**manifest, "metadata": {**metadata, **place}}


def _read(path: str) -> Iterator[tuple[str, str]]:
    if path == "-":
        yield "standard input", sys.stdin.read()
        return
    place = Path(path)
    if place.is_dir():
        for file in sorted(file for file in place.iterdir() if file.suffix in SUFFIXES):
            yield from _read(str(file))
        return
    try:
        yield path, place.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InvalidInput("no such file or folder", source=path) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot be read: {error}", source=path) from error


def _parse(source: str, content: str) -> Iterator[Document]:
    loader = _Loader(content)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is None or (isinstance(node, yaml.ScalarNode) and node.value == ""):
                continue
            yield from _objects(source, loader, node)
    except yaml.YAMLError as error:
        raise _syntax_error(source, content, error) from error
    finally:
        loader.dispose()


def _objects(source: str, loader: _Loader, node: yaml.Node) -> Iterator[Document]:
    where = f"{source}:{node.start_mark.line + 1}"
    if not isinstance(node, yaml.MappingNode):
        raise InvalidInput("not a Kubernetes object", source=where, cure="expected apiVersion, kind and metadata")
    _refuse_duplicates(source, node, set())
    manifest: dict[str, Json] = loader.construct_document(node)
    if text(manifest, "kind").endswith("List") and "items" in manifest:
        entries = next((value for name, value in node.value if name.value == "items"), None)
        for entry in entries.value if isinstance(entries, yaml.SequenceNode) else ():
            yield from _objects(source, loader, entry)
        return
    for path in ("apiVersion", "kind", "metadata.name"):
        if not text(manifest, *path.split(".")):
            raise InvalidInput("is missing", source=where, path=path, cure="every object needs it, as text")
    yield Document(manifest, source, node)


def _refuse_duplicates(source: str, node: yaml.Node, visited: set[int]) -> None:
    if id(node) in visited:  # an alias: walking it again and again is how a small file becomes an endless one
        return
    visited.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicates(source, item, visited)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for name, value in node.value:
            where = f"{source}:{name.start_mark.line + 1}"
            if not isinstance(name, yaml.ScalarNode):
                raise InvalidInput("a key must be plain text", source=where)
            if name.value in seen:
                raise InvalidInput(f"the key {name.value!r} is given twice", source=where, cure="remove one of them")
            seen.add(name.value)
            _refuse_duplicates(source, value, visited)


def _syntax_error(source: str, content: str, error: yaml.YAMLError) -> InvalidInput:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    tab = mark is not None and content[mark.index : mark.index + 1] == "\t"
    return InvalidInput(
        f"not valid YAML: {problem}",
        source=f"{source}:{mark.line + 1}" if mark else source,
        cure="put spaces in place of the tab" if tab else "",
    )
