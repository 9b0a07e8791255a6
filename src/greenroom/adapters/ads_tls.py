"""Mutual TLS of the control plane: what it shows, whom it trusts, and who is at the other end.

Every handshake asks for the present certificates, so that they are renewed while streams are open. A client must show
a certificate of the authority that is trusted, and that names the one gateway whose configuration it may have.
"""

from __future__ import annotations

from typing import Any

import grpc

from greenroom.core.certificates import Pair
from greenroom.core.gateway_names import gateway_identity, gateway_of

_NAMES = "x509_subject_alternative_name"


class AdsTls:
    """``credentials`` are for the server."""

    def __init__(self, pair: Pair, trust: bytes) -> None:
        self.show(pair, trust)
        self.credentials = grpc.dynamic_ssl_server_credentials(
            self._present, lambda: self._present, require_client_authentication=True
        )

    def show(self, pair: Pair, trust: bytes) -> None:
        """From now on show ``pair``, and trust the authorities in the PEM text ``trust``. Open streams go on."""
        self._present = grpc.ssl_server_certificate_configuration([(pair.key, pair.certificate)], trust)


def may_have(cluster: str, context: grpc.aio.ServicerContext[Any, Any]) -> bool:
    """Whether the client's certificate names the gateway that it means by its ``node.cluster``."""
    gateway = gateway_of(cluster)
    names = context.auth_context().get(_NAMES, ())
    return gateway is not None and gateway_identity(gateway).encode() in names
