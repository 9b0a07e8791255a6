"""How to reach an API server: the value that ``adapters.kube`` connects with, and the TLS that it asks for.

``adapters.kubeconfig`` and ``adapters.kube_default`` make it from what they find.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field

from greenroom.adapters.kube_credentials import Credential, Credentials


@dataclass(frozen=True, slots=True)
class Connection:
    """An API server and who we are there.

    ``authority`` is the PEM text of the certificates that are trusted, ``""`` for the system's; ``verify`` off trusts
    any. ``server_name`` is the name that the server's certificate must have when it is not the host's. ``proxy`` is an
    http or https URL, which may carry a password. ``impersonate`` is the user in whose name to ask, ``""`` for none;
    ``namespace`` is the one that is meant when none is named.
    """

    server: str
    credentials: Credentials = field(default=Credential(), repr=False)
    authority: str = ""
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
    """The context for the present client certificate: made when it changes, so that connections are reused.

    ``warn`` is told when a new certificate cannot be used, as when only one of its two files has been replaced yet;
    the one before is then kept.
    """

    def __init__(self, connection: Connection, *, warn: Callable[[str], None]) -> None:
        self._connection = connection
        self._warn = warn
        self._made_for: tuple[str, str] | None = None
        self._context: ssl.SSLContext | None = None

    def context(self, credential: Credential) -> ssl.SSLContext:
        """Raises ``ssl.SSLError`` when not even the first certificate can be used."""
        wanted = (credential.certificate, credential.key)
        if self._context is None or wanted != self._made_for:
            try:
                self._context = tls_context(self._connection, credential)
            except ssl.SSLError as error:
                if self._context is None:
                    raise
                self._warn(str(error))
            self._made_for = wanted
        return self._context
