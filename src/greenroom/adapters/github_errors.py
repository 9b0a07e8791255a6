"""What GitHub's refusal means in the words of ``model.errors``, and how long to wait after it.

GitHub explains itself in ``message`` and ``errors`` of a JSON body ("Troubleshooting the REST API"). What stands
between (a load balancer, a proxy) answers with something else, of which only the code is used. What is told of it may
be read by many, so that whatever looks like a credential is taken out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

import msgspec
from yarl import URL

from greenroom.model.errors import (
    ForgeError,
    ForgeForbidden,
    ForgeInvalid,
    ForgeNotFound,
    ForgeThrottled,
    ForgeUnavailable,
)

TEXT_LIMIT = 300
"""Characters of GitHub's own words that are repeated."""

HIDDEN = "[hidden]"

LONGEST_LIMIT = 3600.0
"""Seconds. GitHub's longest window is an hour ("Rate limits for the REST API"); a clock that is wrong gives more."""

_SECONDARY = ("rate limit", "abuse detection")
"""How GitHub tells of a secondary limit, today and on older servers; it has no code of its own for that."""

_MEANING: Mapping[int, type[ForgeError]] = {
    401: ForgeForbidden,
    403: ForgeForbidden,
    404: ForgeNotFound,
    408: ForgeUnavailable,
    409: ForgeUnavailable,  # something else was changed at the same time
    410: ForgeNotFound,
    429: ForgeThrottled,
    451: ForgeForbidden,
}

_CREDENTIALS = re.compile(
    r"gh[a-z]_[A-Za-z0-9_]+"  # "About authentication to GitHub", token formats
    r"|github_pat_[A-Za-z0-9_]+"
    r"|eyJ[\w-]+\.[\w-]+(?:\.[\w-]+)?"  # a JSON Web Token
    r"|authorization\W+(?:(?:bearer|token|basic)\W+)?\S+"
    r"|\b(?:bearer|basic)\s+\S+",
    re.IGNORECASE,
)


class _Detail(msgspec.Struct):
    message: str | None = None
    field: str | None = None
    code: str | None = None


class _Body(msgspec.Struct):
    message: str = ""
    errors: list[str | _Detail] | str = []


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever it is. ``url`` is who answered; ``next_url`` is the listing's next page, if any."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: URL
    next_url: URL | None = None


def error_of(answer: Answer, asked: str, *, now: datetime, secret: str = "") -> ForgeError:
    """The error that an answer stands for, which is none of those wanted.

    ``asked`` tells who was asked for what; ``secret`` must not appear, should the server repeat it.
    """
    words = told_in(answer.body, secret)
    message = f"{asked}: answered {answer.status} {_phrase(answer.status)}".rstrip()
    message = f"{message}: {words}" if words else message
    if is_throttled(answer):
        return ForgeThrottled(message, retry_after=wait_of(answer, now=now) or 0.0)
    return _meaning(answer.status)(message, retry_after=_seconds(answer.headers.get("Retry-After", "")))


def is_throttled(answer: Answer) -> bool:
    """Whether it is refused because of a limit. GitHub does so by 403 as well as by 429."""
    if answer.status != 403:
        return answer.status == 429
    headers = answer.headers
    spent = headers.get("x-ratelimit-remaining") == "0"
    words = _words(answer.body).lower()
    return spent or "Retry-After" in headers or any(limit in words for limit in _SECONDARY)


def wait_of(answer: Answer, *, now: datetime) -> float | None:
    """Seconds until it can be asked again, as far as the answer tells; None when it does not."""
    told = _seconds(answer.headers.get("Retry-After", ""))
    reset = _seconds(answer.headers.get("x-ratelimit-reset", ""))
    if not told and reset and answer.headers.get("x-ratelimit-remaining") == "0":
        told = max(reset - now.timestamp(), 1.0)
    return min(told, LONGEST_LIMIT) or None


def scrubbed(text: str, secret: str = "") -> str:
    """Without ``secret``, and without anything that looks like a credential of GitHub's."""
    return _CREDENTIALS.sub(HIDDEN, text.replace(secret, HIDDEN) if secret else text)


def told_in(body: bytes, secret: str = "") -> str:
    """GitHub's explanation, scrubbed and capped."""
    return scrubbed(_words(body), secret)[:TEXT_LIMIT]


def _meaning(status: int) -> type[ForgeError]:
    if 400 <= status < 500:
        return _MEANING.get(status, ForgeInvalid)
    return ForgeUnavailable


def _words(body: bytes) -> str:
    """``message`` and what is told of single fields; ``""`` when the body is no explanation of GitHub's."""
    try:
        found = msgspec.json.decode(body, type=_Body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return ""
    errors = [found.errors] if isinstance(found.errors, str) else map(_detail, found.errors)
    return "; ".join(filter(None, [found.message, *errors]))


def _detail(error: str | _Detail) -> str:
    if isinstance(error, str):
        return error
    return error.message or " ".join(filter(None, [error.field, error.code]))


def _seconds(header: str) -> float:
    # RFC 9110 also allows a date; GitHub sends none.
    return float(header) if header.isascii() and header.isdecimal() and len(header) < 12 else 0.0


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return ""
