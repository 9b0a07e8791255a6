"""Rewrites openapi.json: of GitHub's published description, the operations that ``adapters.github`` uses.

    npm pack @octokit/openapi
    tar xzf octokit-openapi-*.tgz
    python tests/data/github/trim.py package/generated/api.github.com.json > tests/data/github/openapi.json

The description is GitHub's, as packed by octokit/openapi (MIT, © Octokit contributors). Whatever is meant for readers
only is left out; all else, references too, stays as it was published. ``tests.github.openapi`` reads it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

OPERATIONS = """
GET /app
GET /app/hook/config
GET /app/hook/deliveries
POST /app/hook/deliveries/{delivery_id}/attempts
POST /app/installations/{installation_id}/access_tokens
GET /repos/{owner}/{repo}/collaborators/{username}/permission
GET /repos/{owner}/{repo}/deployments
POST /repos/{owner}/{repo}/deployments
POST /repos/{owner}/{repo}/deployments/{deployment_id}/statuses
GET /repos/{owner}/{repo}/environments
DELETE /repos/{owner}/{repo}/environments/{environment_name}
GET /repos/{owner}/{repo}/hooks
GET /repos/{owner}/{repo}/hooks/{hook_id}/deliveries
POST /repos/{owner}/{repo}/hooks/{hook_id}/deliveries/{delivery_id}/attempts
GET /repos/{owner}/{repo}/installation
PATCH /repos/{owner}/{repo}/issues/comments/{comment_id}
POST /repos/{owner}/{repo}/issues/comments/{comment_id}/reactions
GET /repos/{owner}/{repo}/issues/{issue_number}/comments
POST /repos/{owner}/{repo}/issues/{issue_number}/comments
GET /repos/{owner}/{repo}/pulls
GET /repos/{owner}/{repo}/pulls/{pull_number}
GET /repos/{owner}/{repo}/pulls/{pull_number}/files
GET /repos/{owner}/{repo}/pulls/{pull_number}/reviews
GET /user
"""

OF_OPERATIONS = ("parameters", "requestBody", "responses")
FOR_READERS = ("description", "summary", "title", "example", "examples", "externalDocs", "tags", "deprecated")
NAMES = ("properties", "schemas", "parameters", "responses", "requestBodies", "headers", "examples")
"""Within these the keys are names of things, and not words of the description language."""


def without_texts(value: Any, *, names: bool = False) -> Any:
    if isinstance(value, list):
        return [without_texts(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    return {
        key: without_texts(entry, names=not names and key in NAMES)
        for key, entry in value.items()
        if names or not (key in FOR_READERS or key.startswith("x-"))
    }


def references(value: Any) -> set[tuple[str, str]]:
    """The kind and the name of every component that is named within."""
    if isinstance(value, list):
        return set().union(*map(references, value))
    if not isinstance(value, dict):
        return set()
    if isinstance(value.get("$ref"), str):
        _, _, kind, name = value["$ref"].split("/")
        return {(kind, name)}
    return set().union(*map(references, value.values()))


def closure(published: dict[str, Any], paths: Any) -> dict[str, dict[str, Any]]:
    """All components that ``paths`` need, and those that they need."""
    found: dict[str, dict[str, Any]] = {}
    left = references(paths)
    while left:
        kind, name = left.pop()
        if name not in found.setdefault(kind, {}):
            found[kind][name] = without_texts(published[kind][name])
            left |= references(found[kind][name])
    return {kind: dict(sorted(entries.items())) for kind, entries in sorted(found.items())}


def main(published: Path) -> None:
    description = json.loads(published.read_text(encoding="utf-8"))
    paths: dict[str, dict[str, Any]] = {}
    for line in OPERATIONS.strip().splitlines():
        method, path = line.split()
        operation = description["paths"][path][method.lower()]
        kept = {part: operation[part] for part in OF_OPERATIONS if part in operation}
        paths.setdefault(path, {})[method.lower()] = without_texts(kept)
    info = {"title": description["info"]["title"], "version": description["info"]["version"], "license": "MIT"}
    trimmed = {
        "openapi": description["openapi"],
        "info": info,
        "paths": paths,
        "components": closure(description["components"], paths),
    }
    sys.stdout.write(json.dumps(trimmed, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
