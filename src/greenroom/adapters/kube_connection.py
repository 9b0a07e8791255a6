"""How to reach an API server: the value that ``adapters.kube`` connects with, and the TLS that it asks for.

``adapters.kubeconfig`` and ``adapters.kube_default`` make it from what they find.
"""

from __future__ import annotations

import ssl
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from greenroom.adapters.kube_credentials import REREAD_SECONDS, Credential, Credentials


@dataclass(frozen=True, slots=True)
class Connection:
    """An API server and who we are there.

    ``authority`` is the PEM text of the certificates that are trusted, ``""`` for the system's, and ``authority_file``
    is where it was read, if it may be replaced there; ``verify`` off trusts any. ``server_name`` is the name that the
    server's certificate must have when it is not the host's. ``proxy`` is an http or https URL, which may carry a
    password. ``impersonate`` is the user in whose name to ask, ``""`` for none; ``namespace`` is the one that is meant
    when none is named.
    """

    server: str
    credentials: Credentials = field(default=Credential(), repr=False)
    authority: str = ""
    authority_file: Path | None = None
    namespace: str = "default"
    verify: bool = True
    server_name: str = ""
    proxy: str = field(default="", repr=False)
    impersonate: str = ""


def tls_context(connection: Connection, credential: Credential) -> ssl.SSLContext:
    """TLS 1.2 or later, with the client certificate of ``credential``. Raises ``ssl.SSLError``."""
    context = ssl.create_default_context(cadata=connection.authority or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Python 3.13 began to want fields in authorities that those of many clusters, made years ago, do not have.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not connection.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if credential.certificate:
        _load_certificate(context, credential)
    return context


def _load_certificate(context: ssl.SSLContext, credential: Credential) -> None:
    """Python reads certificates from files only: this one is private, and gone when it was read."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
        file.write(f"{credential.certificate}\n{credential.key}\n")
        file.flush()
        # The password is that of an encrypted key: without it OpenSSL would ask for one on the terminal.
        context.load_cert_chain(file.name, password="")


class TlsContexts:
    """The context for the present client certificate and authority: made when one changes, so that connections are
    reused.

    ``warn`` is told when a new certificate cannot be used, as when only one of its two files has been replaced yet;
    the ones before are then kept. The authority is read again when ``REREAD_SECONDS`` have passed, as tokens are.
    """

    def __init__(
        self, connection: Connection, *, warn: Callable[[str], None], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._connection = connection
        self._warn = warn
        self._now = now
        self._authority = connection.authority
        self._read_at = now()
        self._made_for: tuple[str, str, str] | None = None
        self._context: ssl.SSLContext | None = None

    def context(self, credential: Credential) -> ssl.SSLContext:
        """Raises ``ssl.SSLError`` when not even the first certificate can be used."""
        self._reread()
        wanted = (self._authority, credential.certificate, credential.key)
        if self._context is None or wanted != self._made_for:
            try:
                self._context = tls_context(replace(self._connection, authority=self._authority), credential)
            except ssl.SSLError as error:
                if self._context is None:
                    raise
                self._warn(str(error))
            self._made_for = wanted
        return self._context

    def _reread(self) -> None:
        """A file that cannot be read, or is empty (which would mean the system's authorities), leaves what is known."""
        file = self._connection.authority_file
        if file is None or self._now() - self._read_at < REREAD_SECONDS:
            return
        self._read_at = self._now()
        with suppress(OSError, UnicodeDecodeError):
            self._authority = file.read_text(encoding="ascii") or self._authority
