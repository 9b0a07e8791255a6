"""Where the API server is and how to speak to it, from a kubeconfig file: what ``adapters.kube`` connects with.

The file's format is Kubernetes' ``Config`` (``clientcmd.k8s.io/v1``). Understood are bearer tokens and certificate
authorities. Every other way to authenticate is refused by name: to ignore it would end in a puzzling 401.
"""

from __future__ import annotations

import base64
import binascii
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from yarl import URL

from greenroom.model.errors import InvalidInput
from greenroom.model.manifest import Json, items, table, text

_FOREIGN_USER = (
    "exec", "auth-provider", "client-certificate", "client-certificate-data", "tokenFile", "username", "as",
)  # fmt: skip
_FOREIGN_CLUSTER = ("insecure-skip-tls-verify", "proxy-url", "tls-server-name")


@dataclass(frozen=True, slots=True)
class Connection:
    """An API server's URL, the bearer token (``""`` for none), the PEM text of its authority (``""`` for the
    system's), and the namespace that the user means when he names none."""

    server: str
    token: str = field(default="", repr=False)
    authority: str = ""
    namespace: str = "default"


def load(path: Path) -> Connection:
    """The current context of the kubeconfig at ``path``. Raises InvalidInput, with the field that is wrong."""
    try:
        content = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
    except FileNotFoundError as error:
        raise InvalidInput("there is no such kubeconfig", source=str(path)) from error
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", source=str(path)) from error
    except yaml.YAMLError:
        # The parser's own text, and the chained error, would quote the line, which may hold the token.
        raise InvalidInput("is not valid YAML", source=str(path)) from None
    return _Kubeconfig(path, content).connection()


@dataclass(frozen=True, slots=True)
class _Kubeconfig:
    path: Path
    content: Json

    def connection(self) -> Connection:
        context = self._entry("context", text(self.content, "current-context"), "current-context")
        cluster = self._entry("cluster", text(context, "cluster"), "contexts[].context.cluster")
        user = self._entry("user", text(context, "user"), "contexts[].context.user") if text(context, "user") else {}
        self._refuse(cluster, _FOREIGN_CLUSTER, "clusters[].cluster")
        self._refuse(user, _FOREIGN_USER, "users[].user")
        return Connection(
            server=self._server(cluster),
            token=self._token(user),
            authority=self._authority(cluster),
            namespace=text(context, "namespace") or "default",
        )

    def _entry(self, kind: str, name: str, named_by: str) -> Mapping[str, Json]:
        """The ``kind`` of the entry called ``name`` in the list ``<kind>s``."""
        if not name:
            raise self._wrong("is missing", named_by)
        for entry in items(self.content, f"{kind}s"):
            if text(entry, "name") == name:
                return table(entry, kind)
        raise self._wrong(f"there is no {kind} called {name!r}", f"{kind}s")

    def _refuse(self, entry: Mapping[str, Json], foreign: Iterable[str], where: str) -> None:
        for key in foreign:
            if entry.get(key):
                raise self._wrong("is not supported", f"{where}.{key}", cure="use a bearer token (`token`) over TLS")

    def _server(self, cluster: Mapping[str, Json]) -> str:
        """The URL. One with a user or password in it is refused: what stands in a URL is logged and shown."""
        where = "clusters[].cluster.server"
        try:
            url = URL(text(cluster, "server").rstrip("/"))
        except ValueError:
            url = URL()
        if url.scheme not in ("http", "https") or not url.host:
            raise self._wrong("is no http or https URL", where)
        if url.user or url.password:
            raise self._wrong("carries a user or a password", where, cure="give a token in `users[].user.token`")
        return str(url).rstrip("/")

    def _token(self, user: Mapping[str, Json]) -> str:
        token = text(user, "token").strip()
        if not token.isascii() or not token.isprintable():
            raise self._wrong("is no bearer token: it has characters no header can carry", "users[].user.token")
        return token

    def _authority(self, cluster: Mapping[str, Json]) -> str:
        data, file = text(cluster, "certificate-authority-data"), text(cluster, "certificate-authority")
        where = f"clusters[].cluster.certificate-authority{'-data' if data else ''}"
        try:
            if data:
                pem = base64.b64decode(data, validate=True).decode("ascii")
            elif file:
                pem = (self.path.parent / file).read_text(encoding="ascii")
            else:
                return ""
            ssl.create_default_context(cadata=pem)
        except (OSError, UnicodeDecodeError, binascii.Error, ValueError) as error:
            raise self._wrong("is no readable PEM certificate", where) from error
        return pem

    def _wrong(self, message: str, path: str, *, cure: str = "") -> InvalidInput:
        return InvalidInput(message, source=str(self.path), path=path, cure=cure)
