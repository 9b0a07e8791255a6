"""Who we are for an API server: a bearer token, a client certificate, or both, wherever they come from.

``adapters.kube_http`` asks for the present credential before each request, and once more when the server answers 401.
The credentials of exec plugins are in ``adapters.kube_exec``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from greenroom.model.errors import Unavailable

REREAD_SECONDS = 10.0
"""How old what was read from a file may be. The kubelet replaces a projected token when 80% of its life has passed."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What to show the server: a bearer token, and a client certificate with its key as PEM text; ``""`` for none.

    It is also the simplest ``Credentials``: those that never change.
    """

    token: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Raises ValueError for a token that no header can carry: it would only fail later, and in a worse place."""
        if not self.token.isascii() or not self.token.isprintable():
            raise ValueError("the bearer token has characters that no header can carry")

    async def current(self) -> Credential:
        return self

    async def renewed(self, refused: Credential) -> Credential | None:
        return None


class Credentials(Protocol):
    """A source of credentials. Both methods may raise ``ClusterError``; no error repeats a secret."""

    async def current(self) -> Credential:
        """What to show now."""

    async def renewed(self, refused: Credential) -> Credential | None:
        """The server answered 401 to ``refused``: what to show instead, or None when there is nothing else."""


class StoredCredentials:
    """Credentials of which some are in files that change: each ``Path`` is read, each ``str`` is the thing itself.

    The files are read again when ``reread_seconds`` have passed, and at once when the server refuses what they held.
    Files that cannot be read, or hold no usable token, leave what was read before.
    """

    def __init__(
        self,
        *,
        token: str | Path = "",
        certificate: str | Path = "",
        key: str | Path = "",
        reread_seconds: float = REREAD_SECONDS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._token, self._certificate, self._key = token, certificate, key
        self._reread_seconds = reread_seconds
        self._now = now
        self._read_at = float("-inf")
        self._last: Credential | None = None

    async def current(self) -> Credential:
        if self._last is None or self._now() - self._read_at >= self._reread_seconds:
            return self.read()
        return self._last

    async def renewed(self, refused: Credential) -> Credential | None:
        found = self.read()
        return found if found != refused else None

    def read(self) -> Credential:
        """Read the files now. Raises Unavailable when they could never be read yet."""
        try:
            found = Credential(_content(self._token).strip(), _content(self._certificate), _content(self._key))
        except (OSError, ValueError) as error:  # ValueError: a file that is not text, or half written
            if self._last is None:
                raise Unavailable(f"the credentials cannot be read: {_reason(error)}") from None
        else:
            self._last = found
        self._read_at = self._now()
        return self._last


def _content(source: str | Path) -> str:
    return source.read_text(encoding="utf-8") if isinstance(source, Path) else source


def _reason(error: OSError | ValueError) -> str:
    """Without the content, which the text of a UnicodeDecodeError quotes."""
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    return "not a text" if isinstance(error, UnicodeDecodeError) else str(error)
