"""TLS for a server whose certificate is renewed while it serves."""

from __future__ import annotations

import ssl
import tempfile

from greenroom.core.certificates import Pair


class ServerTls:
    """``context`` is for the server; until a certificate is shown every handshake fails."""

    def __init__(self) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2

    def show(self, pair: Pair) -> None:
        """Show this one from now on; connections that are open go on. Raises ``ssl.SSLError``.

        Python reads certificates from files only: this one is private, and gone when it was read.
        """
        with tempfile.NamedTemporaryFile() as file:
            file.write(pair.certificate + b"\n" + pair.key)
            file.flush()
            self.context.load_cert_chain(file.name, password="")
