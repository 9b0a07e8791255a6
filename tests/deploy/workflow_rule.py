"""When the workflows of deploy/github build an image: their own expressions, evaluated as GitHub does it.

The evaluator knows the part of the expression language that those files use: literals, ``==``, ``!=``, ``!``, ``&&``,
``||``, parentheses, paths with ``.*``, and a few functions. Anything else is an error.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "deploy" / "github"
WORKFLOW = FOLDER / "preview-image.yml"
CALLERS = (FOLDER / "pull-request.yml", FOLDER / "pull-request-ghcr.yml")

Json = Any
Functions = Mapping[str, Callable[..., Json]]


@cache
def read(file: Path) -> dict[str, Json]:
    """A workflow, read once: change nothing. YAML 1.1 takes the key ``on`` for a boolean; here it is ``on`` again."""
    found = yaml.safe_load(file.read_text())
    return {"on" if key is True else key: value for key, value in found.items()}


def builds(event: Mapping[str, Json], label: str = "pr-env") -> bool:
    """Whether the webhook payload ``event`` of a ``pull_request`` makes the workflow build."""
    types = {tuple(read(caller)["on"]["pull_request"]["types"]) for caller in CALLERS}
    if len(types) != 1:
        raise ValueError(f"the callers differ in the actions that they run for: {types}")
    return event["action"] in types.pop() and truth(evaluate(_job()["if"], contexts(event, label)))


def group(event: Mapping[str, Json], label: str = "pr-env", *, run: str = "1", image: str = "app") -> str:
    """The concurrency group of the run that ``event`` makes. ``run`` is its id."""
    found = contexts(event, label, run=run, image=image)
    return fill(_job()["concurrency"]["group"], found)


def contexts(
    event: Mapping[str, Json], label: str = "pr-env", *, run: str = "1", image: str = "app"
) -> dict[str, Json]:
    """What ``github`` and ``inputs`` are in the called workflow."""
    return {
        "github": {
            "event_name": "pull_request",
            "event": event,
            "repository": event["repository"]["full_name"],
            "run_id": run,
        },
        "inputs": {"label": label, "image": image},
    }


def fill(template: str, contexts: Mapping[str, Json]) -> str:
    """A text with each ``${{ … }}`` replaced."""
    return re.sub(r"\$\{\{(.*?)\}\}", lambda match: _text(evaluate(match[1], contexts)), template, flags=re.DOTALL)


def evaluate(expression: str, contexts: Mapping[str, Json], functions: Functions | None = None) -> Json:
    """The value of an expression, with or without ``${{ }}`` around it. Raises ValueError for what is not known."""
    bare = re.fullmatch(r"\s*\$\{\{(.*)\}\}\s*", expression, re.DOTALL)
    return _Reader(bare[1] if bare else expression, contexts, functions or {}).whole()


def truth(value: Json) -> bool:
    return not (value is None or value is False or value in (0, "") or (isinstance(value, float) and math.isnan(value)))


def _job() -> dict[str, Json]:
    (job,) = read(WORKFLOW)["jobs"].values()
    found: dict[str, Json] = job
    return found


_TOKEN = re.compile(r"\s*(?:('(?:[^']|'')*')|(\d+(?:\.\d+)?)|([A-Za-z_][A-Za-z0-9_-]*)|(==|!=|&&|\|\||[!().,*]))")


class _Filtered(list[Json]):
    """What ``.*`` gives: the next name is looked up in each."""


class _Reader:
    """Recursive descent. Both sides of ``&&`` and ``||`` are evaluated, which has no effect on the value."""

    def __init__(self, text: str, contexts: Mapping[str, Json], functions: Functions) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0
        self._contexts = contexts
        self._functions: Functions = {"contains": _contains, "fromjson": json.loads, **functions}

    def whole(self) -> Json:
        value = self._any_of()
        if self._at != len(self._tokens):
            raise ValueError(f"not understood: {self._tokens[self._at :]}")
        return value

    def _any_of(self) -> Json:
        value = self._all_of()
        while self._take("||"):
            other = self._all_of()
            value = value if truth(value) else other
        return value

    def _all_of(self) -> Json:
        value = self._comparison()
        while self._take("&&"):
            other = self._comparison()
            value = other if truth(value) else value
        return value

    def _comparison(self) -> Json:
        value = self._negation()
        while (wanted := self._take("==")) or self._take("!="):
            value = _equal(value, self._negation()) is bool(wanted)
        return value

    def _negation(self) -> Json:
        if self._take("!"):
            return not truth(self._negation())
        return self._path()

    def _path(self) -> Json:
        value = self._primary()
        while self._take("."):
            value = _items(value) if self._take("*") else _member(value, self._next())
        return value

    def _primary(self) -> Json:
        token = self._next()
        if token == "(":
            value = self._any_of()
            self._expect(")")
            return value
        if token.startswith("'"):
            return token[1:-1].replace("''", "'")
        if token[0].isdigit():
            return float(token)
        if token in ("true", "false", "null"):
            return json.loads(token)
        if self._take("("):
            return self._call(token)
        if token not in self._contexts:
            raise ValueError(f"there is no context {token}")
        return self._contexts[token]

    def _call(self, name: str) -> Json:
        function = self._functions.get(name.lower())
        if function is None:
            raise ValueError(f"the function {name} is not known here")
        arguments = []
        if not self._take(")"):
            arguments.append(self._any_of())
            while self._take(","):
                arguments.append(self._any_of())
            self._expect(")")
        return function(*arguments)

    def _next(self) -> str:
        if self._at == len(self._tokens):
            raise ValueError("the expression ends too early")
        self._at += 1
        return self._tokens[self._at - 1]

    def _take(self, token: str) -> bool:
        found = self._at < len(self._tokens) and self._tokens[self._at] == token
        self._at += found
        return found

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise ValueError(f"{token} is missing before {self._tokens[self._at :]}")


def _tokens(text: str) -> Sequence[str]:
    found, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"not understood: {text[at:]}")
        found.append(match[0].strip())
        at = match.end()
    return found


def _member(value: Json, name: str) -> Json:
    if isinstance(value, _Filtered):
        return _Filtered(item[name] for item in value if isinstance(item, Mapping) and name in item)
    return value.get(name) if isinstance(value, Mapping) else None


def _items(value: Json) -> _Filtered:
    return _Filtered(value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ())


def _contains(where: Json, what: Json) -> bool:
    if isinstance(where, list):
        return any(_equal(item, what) for item in where)
    return _folded(_text(what)) in _folded(_text(where))


def _equal(left: Json, right: Json) -> bool:
    """Texts without regard to letter case; values of two types as numbers; objects only if they are the same one."""
    if isinstance(left, str) and isinstance(right, str):
        return _folded(left) == _folded(right)
    if isinstance(left, list | Mapping) or isinstance(right, list | Mapping):
        return left is right
    return _number(left) == _number(right)


def _number(value: Json) -> float:
    if isinstance(value, str):
        try:
            return float(value) if value.strip() else 0.0
        except ValueError:
            return math.nan
    return float(value or 0)


def _folded(text: str) -> str:
    """One character for one, as .NET compares: ß is not SS."""
    return "".join(letter.upper() if len(letter.upper()) == 1 else letter for letter in text)


def _text(value: Json) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
