"""Rewrites pull_request.required.json: which fields GitHub's ``pull_request`` event must have, place by place.

    npm pack @octokit/webhooks-schemas
    tar xzf octokit-webhooks-schemas-*.tgz
    python tests/data/required_fields.py package/schema.json > tests/data/pull_request.required.json

The schemas are those of octokit/webhooks (MIT). Lists and alternatives (``oneOf``) are not followed.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

ACTIONS = (
    "opened",
    "reopened",
    "synchronize",
    "closed",
    "labeled",
    "unlabeled",
    "converted_to_draft",
    "ready_for_review",
    "edited",
)


def collect(definitions: dict[str, Any], schema: dict[str, Any], place: str, found: dict[str, set[str]]) -> None:
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    for part in schema.get("allOf", ()):
        collect(definitions, part, place, found)
    for field in schema.get("required", ()):
        found[place].add(field)
        collect(definitions, schema.get("properties", {}).get(field, {}), f"{place}.{field}".strip("."), found)


def main(schema: Path) -> None:
    definitions = json.loads(schema.read_text(encoding="utf-8"))["definitions"]
    actions = {}
    for action in ACTIONS:
        found: dict[str, set[str]] = defaultdict(set)
        collect(definitions, {"$ref": f"pull_request${action}"}, "", found)
        actions[action] = {place: " ".join(sorted(fields)) for place, fields in sorted(found.items())}
    shared = {place: fields for action in ACTIONS for place, fields in actions[action].items() if place}
    top = {action: places[""] for action, places in actions.items()}
    sys.stdout.write(json.dumps({"fields of the event": top, "fields within": shared}, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
