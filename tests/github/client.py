"""A client of the GitHub stand-in, and a watch that no error of it tells a secret."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TypeVar

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from tests.github.standin import StandIn
from tests.github.state import Repository

from greenroom.adapters.github import GitHub
from greenroom.adapters.github_credentials import App, Token
from greenroom.adapters.github_limits import WriteBudget
from greenroom.model.errors import ForgeError

TOKEN = "ghp_VerySecretTokenOfTheTests0123456789"

E = TypeVar("E", bound=ForgeError)


@dataclass
class Clock:
    """The machine's, and as much later as a test wants it."""

    later: timedelta = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.later


def standin_with(pulls: int) -> tuple[StandIn, Repository]:
    standin = StandIn(checked=pulls < 10)
    shop = standin.repository()
    for _ in range(pulls):
        standin.open_pull(shop)
    return standin, shop


@asynccontextmanager
async def client(
    standin: StandIn,
    credentials: Token | App | None = None,
    *,
    clock: Clock | None = None,
    timeout: float = 10.0,
    budget: WriteBudget | None = None,
) -> AsyncIterator[GitHub]:
    """Served, and asked with ``TOKEN`` if not otherwise said."""
    shown = credentials or Token(standin.token(TOKEN))
    async with (
        standin.served() as server,
        GitHub(shown, clock or Clock(), server=server, timeout=timeout, budget=budget) as forge,
    ):
        yield forge


@contextmanager
def refused(kind: type[E], match: str | None = None) -> Iterator[pytest.ExceptionInfo[E]]:
    """``pytest.raises``, which also looks for secrets in all that a log could tell of the error."""
    with pytest.raises(kind, match=match) as caught:
        yield caught
    said = everything_said_by(caught.value)
    for secret in (TOKEN, TOKEN[4:], "ghs_", "PRIVATE KEY", "eyJ", "Bearer "):
        assert secret not in said, f"{secret} is told"


def everything_said_by(error: BaseException | None) -> str:
    """Its text, and that of all errors that hang on to it, whether a traceback would show them or not."""
    if error is None:
        return ""
    own = [str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)]
    return "\n".join([*own, everything_said_by(error.__cause__), everything_said_by(error.__context__)])


@cache
def keys() -> tuple[str, str]:
    """A private key and its public one, as PEM text."""
    return other_keys()


def other_keys() -> tuple[str, str]:
    key = generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()
