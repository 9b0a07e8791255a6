"""What the entries of a kubeconfig mean: a cluster as a ``Connection``, a user as the ``Credentials`` in it.

Where two fields say the same, the one wins that wins with kubectl: data over a file, a token's file over a token, a
token over an exec plugin.
"""

from __future__ import annotations

import base64
import binascii
import os
import shutil
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from yarl import URL

from greenroom.adapters.kube_connection import Connection, tls_context
from greenroom.adapters.kube_credentials import Credentials, StoredCredentials
from greenroom.adapters.kube_exec import GROUP, VERSIONS, ExecCredentials, Plugin
from greenroom.model.errors import InvalidInput, Unavailable
from greenroom.model.manifest import Json, get, items, table, text

_REFUSED_OF_USER: Mapping[str, str] = {
    "username": "Kubernetes 1.19 removed passwords: use a token, a client certificate or an exec plugin",
    "password": "Kubernetes 1.19 removed passwords: use a token, a client certificate or an exec plugin",
    "auth-provider": "Kubernetes 1.26 removed it: use an exec plugin",
    "as-uid": "impersonate by `as` only",
    "as-groups": "impersonate by `as` only",
    "as-user-extra": "impersonate by `as` only",
}

_EXTENSION = f"{GROUP}/exec"
"""The cluster's extension whose content an exec plugin gets as ``cluster.config``."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, and where it stands: ``where`` is the path of its fields in ``source``."""

    source: Path
    where: str
    fields: Mapping[str, Json]

    def text(self, name: str) -> str:
        return text(self.fields, name)

    def required(self, name: str) -> str:
        if not self.text(name):
            raise self.wrong("is missing", name)
        return self.text(name)

    def is_on(self, name: str) -> bool:
        return get(self.fields, name) is True

    def file(self, name: str) -> Path | None:
        """The file that a field names, relative to the kubeconfig's folder."""
        return self.source.absolute().parent / self.text(name) if self.text(name) else None

    def pem(self, name: str) -> str:
        """The text in the base64 of ``<name>-data``; ``""`` when there is none."""
        try:
            return base64.b64decode(self.text(f"{name}-data"), validate=True).decode("ascii")
        except (UnicodeDecodeError, binascii.Error, ValueError):
            raise self.wrong("is no readable PEM text", f"{name}-data") from None

    def within(self, name: str) -> Entry:
        return Entry(self.source, f"{self.where}.{name}", table(self.fields, name))

    def wrong(self, message: str, name: str, *, cure: str = "") -> InvalidInput:
        return InvalidInput(message, source=str(self.source), path=f"{self.where}.{name}", cure=cure)


def cluster_connection(cluster: Entry, *, namespace: str) -> Connection:
    """The connection of a cluster, without a user."""
    connection = Connection(
        server=_server(cluster),
        authority=_authority(cluster),
        namespace=namespace,
        verify=not cluster.is_on("insecure-skip-tls-verify"),
        server_name=cluster.text("tls-server-name"),
        proxy=_proxy(cluster),
    )
    if connection.authority and not connection.verify:
        raise cluster.wrong("contradicts certificate-authority", "insecure-skip-tls-verify", cure="remove one of them")
    return connection


def with_user(connection: Connection, user: Entry, cluster: Entry) -> Connection:
    """The same with the credentials of a user. ``cluster`` is shown to an exec plugin that asks for it."""
    for name, cure in _REFUSED_OF_USER.items():
        if get(user.fields, name):
            raise user.wrong("is not supported", name, cure=cure)
    return replace(connection, credentials=_credentials(connection, user, cluster), impersonate=user.text("as"))


def _server(cluster: Entry) -> str:
    """The URL. One with a user or password in it is refused: what stands in a URL is logged and shown."""
    url = _url(cluster, "server")
    if url.user or url.password:
        raise cluster.wrong("carries a user or a password", "server", cure="give a token in `users[].user.token`")
    return str(url).rstrip("/")


def _proxy(cluster: Entry) -> str:
    if not cluster.text("proxy-url"):
        return ""
    if cluster.text("proxy-url").startswith("socks"):
        raise cluster.wrong("is a SOCKS proxy, which is not supported", "proxy-url", cure="use an HTTP proxy")
    return str(_url(cluster, "proxy-url"))


def _url(cluster: Entry, name: str) -> URL:
    try:
        url = URL(cluster.text(name).rstrip("/"))
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise cluster.wrong("is no http or https URL", name)
    return url


def _authority(cluster: Entry) -> str:
    """The PEM text that is trusted, ``""`` for what the system trusts."""
    name = "certificate-authority"
    try:
        file = cluster.file(name)
        pem = cluster.pem(name) or (file.read_text(encoding="ascii") if file else "")
        if pem:
            ssl.create_default_context(cadata=pem)
    except (OSError, ValueError) as error:
        field = f"{name}-data" if cluster.text(f"{name}-data") else name
        raise cluster.wrong("is no readable PEM certificate", field) from error
    return pem


def _credentials(connection: Connection, user: Entry, cluster: Entry) -> Credentials:
    if not table(user.fields, "exec") or user.text("token") or user.text("tokenFile"):
        return _stored(connection, user)
    if user.text("client-certificate") or user.text("client-certificate-data"):
        raise user.wrong("cannot be used together with a client certificate", "exec", cure="remove one of them")
    return ExecCredentials(_plugin(user.within("exec"), cluster))


def _stored(connection: Connection, user: Entry) -> Credentials:
    """The token and client certificate that are written in the kubeconfig, or in files that it names."""
    token: str | Path = user.file("tokenFile") or user.text("token")
    certificate: str | Path = user.pem("client-certificate") or user.file("client-certificate") or ""
    key: str | Path = user.pem("client-key") or user.file("client-key") or ""
    if bool(certificate) != bool(key):
        raise user.wrong("is missing", "client-key" if certificate else "client-certificate")
    stored = StoredCredentials(token=token, certificate=certificate, key=key)
    try:
        first = stored.read()
        if first.certificate:
            tls_context(connection, first)
    except Unavailable as error:
        name = "tokenFile" if isinstance(token, Path) else "token" if token else "client-certificate"
        raise user.wrong(str(error), name) from None
    except ssl.SSLError as error:
        raise user.wrong("and client-key do not make a client certificate", "client-certificate") from error
    return stored if any(isinstance(source, Path) for source in (token, certificate, key)) else first


def _plugin(exec_: Entry, cluster: Entry) -> Plugin:
    version = exec_.required("apiVersion")
    if version not in VERSIONS:
        cure = f"use {VERSIONS[0]}; for EKS `aws eks update-kubeconfig` of a present AWS CLI writes it"
        raise exec_.wrong(f"{version} is not supported", "apiVersion", cure=cure)
    if exec_.text("interactiveMode") == "Always":
        raise exec_.wrong("the plugin wants to ask a person, and a server has none", "interactiveMode")
    arguments = items(exec_.fields, "args")
    variables = items(exec_.fields, "env")
    return Plugin(
        command=_command(exec_),
        arguments=tuple(argument for argument in arguments if isinstance(argument, str)),
        environment={text(variable, "name"): text(variable, "value") for variable in variables},
        api_version=version,
        install_hint=exec_.text("installHint"),
        cluster=_cluster_info(cluster) if exec_.is_on("provideClusterInfo") else None,
    )


def _command(exec_: Entry) -> str:
    """The program: by its path, relative to the kubeconfig's folder, or by its name, on the PATH."""
    given = exec_.required("command")
    command = str(exec_.source.absolute().parent / given) if os.sep in given else given
    if shutil.which(command) is None:
        raise exec_.wrong(f"there is no program {given!r}", "command", cure=exec_.text("installHint"))
    return command


def _cluster_info(cluster: Entry) -> Mapping[str, Json]:
    """The cluster as ``KUBERNETES_EXEC_INFO`` has it; what is unset is left out."""
    names = ("server", "tls-server-name", "insecure-skip-tls-verify", "proxy-url", "disable-compression")
    info = {name: cluster.fields[name] for name in names if cluster.fields.get(name)}
    if authority := _authority(cluster):
        info["certificate-authority-data"] = base64.b64encode(authority.encode()).decode()
    for extension in items(cluster.fields, "extensions"):
        if text(extension, "name") == _EXTENSION:
            info["config"] = get(extension, "extension")
    return info
