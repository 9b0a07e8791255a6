"""GitHub's webhooks: is it really from the forge, and what does it say?

The bytes are verified before they are parsed (``core.payloads``). ``flows.intake`` acts on the answer.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import msgspec

from greenroom.core.payloads import EVENTS, Content, Ignored
from greenroom.model.errors import GreenroomError, InvalidInput

BODY_LIMIT = 25 * 2**20
"""Bytes. GitHub caps payloads at 25 MB and does not deliver larger ones."""

SIGNATURE_HEADER = "X-Hub-Signature-256"
EVENT_HEADER = "X-GitHub-Event"


class BadSignature(GreenroomError):
    """The body was not signed with any of our secrets."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets that a delivery may be signed with: one, or two while the old one is being replaced."""

    values: tuple[bytes, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if not self.values or not all(self.values):
            raise InvalidInput("the webhook's secret is empty", cure="set one here and in the forge's webhook settings")


@dataclass(frozen=True, slots=True)
class Malformed:
    """A delivery that is not what GitHub sends. ``path`` is the field or header that is wrong, ``""`` for the body."""

    path: str
    message: str


def signature(secret: bytes, body: bytes) -> str:
    """The value of ``X-Hub-Signature-256``."""
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def verify(secrets: Secrets, headers: Mapping[str, str], body: bytes) -> None:
    """Raises BadSignature. The older SHA-1 header is not looked at."""
    given = header(headers, SIGNATURE_HEADER)
    if not given:
        raise BadSignature(f"{SIGNATURE_HEADER} is missing; set a secret in the forge's webhook settings")
    # Every secret is compared, so that the time taken does not tell which one came close.
    received = given.encode(errors="replace")
    matches = [hmac.compare_digest(signature(secret, body).encode(), received) for secret in secrets.values]
    if not any(matches):
        raise BadSignature(f"{SIGNATURE_HEADER} does not match; the secret here and in the forge must be the same")


def parse(headers: Mapping[str, str], body: bytes) -> Content | Malformed:
    """What a verified delivery says."""
    event = header(headers, EVENT_HEADER)
    if not event:
        return Malformed(EVENT_HEADER, "the header is missing")
    if event == "ping":
        return Ignored("ping: the webhook is set up")
    read = EVENTS.get(event)
    if read is None:
        return Ignored(f"the event is {event[:40]!r}; only {', '.join(EVENTS)} matter here")
    try:
        return read(_payload(header(headers, "Content-Type"), body))
    except msgspec.ValidationError as error:
        return _wrong_field(str(error))
    except (msgspec.DecodeError, RecursionError, ValueError, OverflowError) as error:
        return Malformed("", f"not JSON: {error}")


def header(headers: Mapping[str, str], name: str) -> str:
    """A header's value, whatever the case of its name; ``""`` when it is missing."""
    return next((value for key, value in headers.items() if key.lower() == name.lower()), "")


def _payload(content_type: str, body: bytes) -> bytes:
    """The JSON: the body itself, or its ``payload`` field. GitHub offers both content types."""
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        return body
    fields = parse_qs(body.decode("ascii"), max_num_fields=16)
    return fields.get("payload", [""])[0].encode()


def _wrong_field(message: str) -> Malformed:
    """msgspec writes ``Expected `str`, got `null` - at `$.pull_request.head.sha```; a missing field is in the text."""
    problem, _, place = message.partition(" - at ")
    path = place.strip("`").removeprefix("$").removeprefix(".")
    if problem.startswith("Object missing required field"):
        missing = problem.split("`")[1]
        return Malformed(f"{path}.{missing}" if path else missing, "the field is missing")
    return Malformed(path, problem.replace("`", ""))
