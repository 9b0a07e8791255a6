"""Who we are for GitHub: a token, or a GitHub App, wherever they come from.

``adapters.github_http`` asks for the present credential before each request, and once more when GitHub answers 401.
What an App needs beyond its key is in ``adapters.github_installations``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import jwt

from greenroom.model.errors import ForgeForbidden

REREAD_SECONDS = 10.0
"""How old what was read may be. The kubelet renews files of Secrets within a minute or two."""

BACK, AHEAD = timedelta(seconds=60), timedelta(minutes=9)
"""From when until when an App's assertion is good. GitHub advises a minute back, for clocks that differ, and takes at
most ten minutes ahead ("Generating a JSON Web Token (JWT) for a GitHub App")."""

YOUNG = timedelta(minutes=4)
"""For how long an assertion is shown again: reading the key, and checking it, takes a tenth of a second."""

Source = str | Path | Callable[[], str]
"""A secret: the thing itself, a file that has it, or a function that tells it."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A bearer token. ``owner`` tells whose it is: limits are counted, and answers kept, for each of them."""

    owner: str
    secret: str = field(repr=False)


class Credentials(Protocol):
    """A source of credentials. Both methods may raise ``ForgeError``; no error repeats a secret."""

    async def current(self) -> Credential:
        """What to show now."""

    async def renewed(self, refused: Credential) -> Credential | None:
        """GitHub answered 401 to ``refused``: what to show instead, or None when there is nothing else."""


class StoredSecret:
    """A secret that may change where it is stored.

    It is read again when ``REREAD_SECONDS`` have passed. One that cannot be read, or is empty, leaves what was read
    before. ``what`` names it in errors.
    """

    def __init__(self, source: Source, what: str, *, now: Callable[[], float] = time.monotonic) -> None:
        self._source, self._what, self._now = source, what, now
        self._read_at = float("-inf")
        self._last = ""

    def current(self) -> str:
        """Raises ForgeForbidden when it could never be read yet."""
        return self._last if self._last and self._now() - self._read_at < REREAD_SECONDS else self.read()

    def read(self) -> str:
        """Read it now. Raises ForgeForbidden when it could never be read yet."""
        trouble = ""
        try:
            self._last = _read(self._source) or self._last
        except OSError as error:
            trouble = f": {error.filename}: {error.strerror}"
        except ValueError:  # a file that is not text, or half written; the error's text quotes it
            trouble = ": it is not a text"
        if not self._last:
            raise ForgeForbidden(f"{self._what} cannot be read{trouble or ': it is empty'}")
        self._read_at = self._now()
        return self._last


class Token:
    """A personal access token, or any other that GitHub takes as it is. Use it as ``Token(Path("/run/token"))``."""

    def __init__(self, source: Source, *, now: Callable[[], float] = time.monotonic) -> None:
        self._stored = StoredSecret(source, "GitHub's token", now=now)

    async def current(self) -> Credential:
        return _token(self._stored.current())

    async def renewed(self, refused: Credential) -> Credential | None:
        found = _token(self._stored.read())
        return found if found != refused else None


class App:
    """A GitHub App: its id or client id, and its private key as PEM text."""

    def __init__(self, issuer: str, key: Source, *, now: Callable[[], float] = time.monotonic) -> None:
        self.issuer = issuer
        self._key = StoredSecret(key, "the GitHub App's private key", now=now)
        self._signed: tuple[datetime, Credential] | None = None

    def assertion(self, at: datetime, *, anew: bool = False) -> Credential:
        """What the App itself shows, to ask for its installations.

        It is the one of before while that is young, and none ``anew`` is asked for. Raises ForgeForbidden when the key
        is no key.
        """
        if self._signed is None or anew or not timedelta() <= at - self._signed[0] < YOUNG:
            self._signed = at, self._sign(at)
        return self._signed[1]

    def _sign(self, at: datetime) -> Credential:
        claims = {"iss": self.issuer, "iat": int((at - BACK).timestamp()), "exp": int((at + AHEAD).timestamp())}
        key = self._key.current()
        try:
            return Credential(f"App {self.issuer}", jwt.encode(claims, key, algorithm="RS256"))
        except (jwt.PyJWTError, ValueError, TypeError):
            pass  # raised below, where no other error hangs on to it: its text might quote the key
        raise ForgeForbidden("the GitHub App's private key is not an RSA key as PEM text")


def _token(secret: str) -> Credential:
    """Raises ForgeForbidden for a token that no header can carry: it would only fail later, and in a worse place."""
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ForgeForbidden("GitHub's token has characters that no header can carry")
    return Credential("token", secret)


def _read(source: Source) -> str:
    if isinstance(source, Path):
        return source.read_text(encoding="utf-8").strip()
    return (source if isinstance(source, str) else source()).strip()
