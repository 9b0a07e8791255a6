"""TLS as Envoy's ``extensions.transport_sockets.tls.v3`` has it, to endpoints and from visitors."""

from __future__ import annotations

from collections.abc import Sequence

from greenroom.model.manifest import Json
from greenroom.model.routes import Certificate, ClientTls, ServerTls, is_address

_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
_NAME = "envoy.transport_sockets.tls"


def upstream_tls(tls: ClientTls, *, host: str, http2: bool) -> Json:
    common = _common(tls.certificate, tls.trust, tls.names, ["h2" if http2 else "http/1.1"])
    context: dict[str, Json] = {"@type": f"{_TYPE}.UpstreamTlsContext", "common_tls_context": common}
    if host and not is_address(host):
        context["sni"] = host
    return {"name": _NAME, "typed_config": context}


def downstream_tls(tls: ServerTls, *, http2: bool) -> Json:
    context: dict[str, Json] = {
        "@type": f"{_TYPE}.DownstreamTlsContext",
        "common_tls_context": _common(tls.certificate, tls.trust, tls.names, ["h2"] if http2 else ["h2", "http/1.1"]),
    }
    if tls.trust:
        context["require_client_certificate"] = True
    return {"name": _NAME, "typed_config": context}


def _common(certificate: Certificate | None, trust: str, names: Sequence[str], alpn: Sequence[str]) -> Json:
    context: dict[str, Json] = {"alpn_protocols": list(alpn)}
    if certificate is not None:
        chain, key = {"filename": certificate.chain}, {"filename": certificate.key}
        context["tls_certificates"] = [{"certificate_chain": chain, "private_key": key}]
    if trust:
        context["validation_context"] = {"trusted_ca": {"filename": trust}, **_names(names)}
    return context


def _names(names: Sequence[str]) -> dict[str, Json]:
    matchers: list[Json] = [{"san_type": _name_type(name), "matcher": {"exact": name}} for name in names]
    return {"match_typed_subject_alt_names": matchers} if matchers else {}


def _name_type(name: str) -> str:
    """Certificates keep names of different kinds apart."""
    if "://" in name:
        return "URI"
    return "IP_ADDRESS" if is_address(name) else "DNS"
