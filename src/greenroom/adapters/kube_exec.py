"""Credentials from an exec plugin, a program such as ``aws eks get-token`` that prints them.

The protocol is Kubernetes' client.authentication.k8s.io, v1 and v1beta1. The plugin gets no terminal: a server has
nobody to ask. What it prints reaches no error and no log, except its complaints, without what looks like a secret.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec

from greenroom.adapters.kube_credentials import Credential
from greenroom.model.errors import Unavailable
from greenroom.model.manifest import Json, table, text

GROUP = "client.authentication.k8s.io"
VERSIONS = (f"{GROUP}/v1", f"{GROUP}/v1beta1")

EARLY = timedelta(seconds=60)
"""How long before its end a credential is replaced: it has to last for the request that carries it."""

COMPLAINT_LIMIT = 400
"""Characters of a plugin's complaint that are told: the last ones, where programs say what went wrong."""

_SECRET_LIKE = re.compile(r"(?=[\w+/=-]*\d)[\w+/=-]{20,}")


@dataclass(frozen=True, slots=True)
class Plugin:
    """How to call it. ``environment`` comes on top of our own; ``cluster`` is what ``provideClusterInfo`` asks for."""

    command: str
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    api_version: str = VERSIONS[0]
    install_hint: str = ""
    cluster: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class _Issued:
    """A credential that the plugin printed; ``expires`` is None when it did not say."""

    credential: Credential
    expires: datetime | None


class ExecCredentials:
    """What ``plugin`` prints, kept until shortly before it expires, or until the server refuses it.

    The plugin runs once at a time, and not again within ``interval`` seconds, whatever it answered: a server that
    refuses everything must not make us start a program for every request. It is ended after ``timeout`` seconds.
    """

    def __init__(
        self,
        plugin: Plugin,
        *,
        interval: float = 10.0,
        timeout: float = 60.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plugin = plugin
        self._interval, self._timeout = interval, timeout
        self._now, self._monotonic = now, monotonic
        self._running = asyncio.Lock()
        self._ran_at = float("-inf")
        self._issued: _Issued | None = None
        self._failure = ""

    async def current(self) -> Credential:
        """Raises Unavailable when the plugin gives no credential."""
        async with self._running:
            if self._issued is None or (self._is_ending(self._issued) and not self._is_resting()):
                await self._renew()
            return self._known()

    async def renewed(self, refused: Credential) -> Credential | None:
        async with self._running:
            # While we waited, another request may have replaced what was refused.
            if self._issued is not None and self._issued.credential == refused and not self._is_resting():
                await self._renew()
            known = self._known()
        if known != refused:
            return known
        if self._failure:
            raise self._unavailable()
        return None

    def _is_ending(self, issued: _Issued) -> bool:
        return issued.expires is not None and self._now() >= issued.expires - EARLY

    def _is_resting(self) -> bool:
        return self._monotonic() - self._ran_at < self._interval

    def _known(self) -> Credential:
        if self._issued is None:
            raise self._unavailable()
        return self._issued.credential

    def _unavailable(self) -> Unavailable:
        rest = self._interval - (self._monotonic() - self._ran_at)
        return Unavailable(self._failure, retry_after=max(rest, 0.0))

    async def _renew(self) -> None:
        """Run the plugin. Where it fails, what it issued before stays, for that may be good a little longer."""
        if self._failure and self._is_resting():
            return
        try:
            self._issued, self._failure = _issued(await self._run(), self._plugin.api_version), ""
        except _PluginError as error:
            self._failure = f"the exec plugin {self._plugin.command!r} of the kubeconfig {error}"
        self._ran_at = self._monotonic()

    async def _run(self) -> bytes:
        """What the plugin prints. Raises _PluginError."""
        try:
            process = await asyncio.create_subprocess_exec(
                self._plugin.command,
                *self._plugin.arguments,
                env={**os.environ, **self._plugin.environment, "KUBERNETES_EXEC_INFO": self._info()},
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=PIPE,
                start_new_session=True,
            )
        except OSError as error:
            hint = f"\n{self._plugin.install_hint}" if self._plugin.install_hint else ""
            raise _PluginError(f"cannot be started: {error.strerror}{hint}") from error
        try:
            async with asyncio.timeout(self._timeout):
                printed, complaint = await process.communicate()
        except TimeoutError:
            await _kill(process)
            raise _PluginError(f"did not end within {self._timeout:g} seconds") from None
        except asyncio.CancelledError:
            await _kill(process)
            raise
        if process.returncode != 0:
            raise _PluginError(f"failed with exit code {process.returncode}: {scrubbed(complaint)}".rstrip(": "))
        return printed

    def _info(self) -> str:
        cluster = {} if self._plugin.cluster is None else {"cluster": self._plugin.cluster}
        info = {
            "apiVersion": self._plugin.api_version,
            "kind": "ExecCredential",
            "spec": {**cluster, "interactive": False},
        }
        return msgspec.json.encode(info).decode()


class _PluginError(Exception):
    """What the plugin did, as the end of a sentence that begins with its name."""


def scrubbed(complaint: bytes) -> str:
    """The end of a complaint on one line, without long words that have digits in them: those may be keys or tokens."""
    words = " ".join(complaint.decode(errors="replace").split())
    return _SECRET_LIKE.sub("[…]", words)[-COMPLAINT_LIMIT:]


def _issued(printed: bytes, api_version: str) -> _Issued:
    """The credential in an ExecCredential. Raises _PluginError, without quoting it."""
    try:
        answer: Json = msgspec.json.decode(printed)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _PluginError("printed no JSON") from None
    if text(answer, "kind") != "ExecCredential" or text(answer, "apiVersion") != api_version:
        raise _PluginError(f"printed no ExecCredential of {api_version}")
    status = table(answer, "status")
    certificate, key = text(status, "clientCertificateData"), text(status, "clientKeyData")
    if bool(certificate) != bool(key):
        raise _PluginError("printed a client certificate without its key, or the other way round")
    try:
        credential = Credential(text(status, "token"), certificate, key)
    except ValueError:
        raise _PluginError("printed a token that no header can carry") from None
    if credential == Credential():
        raise _PluginError("printed neither a token nor a client certificate")
    return _Issued(credential, _expiry(text(status, "expirationTimestamp")))


def _expiry(timestamp: str) -> datetime | None:
    if not timestamp:
        return None
    try:
        return msgspec.convert(timestamp, datetime).astimezone(UTC)
    except msgspec.ValidationError:
        raise _PluginError("printed an expirationTimestamp that is no RFC 3339 time") from None


async def _kill(process: Process) -> None:
    """With its children, which may hold its output open: it was given a session, and so a process group, of its own."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
