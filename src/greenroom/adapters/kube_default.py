"""Which API server is meant when nobody says: that of the kubeconfig in use, or of the pod that we run in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from greenroom.adapters import kubeconfig
from greenroom.adapters.kube_connection import Connection, tls_context
from greenroom.adapters.kube_credentials import Credential, StoredCredentials
from greenroom.model.errors import InvalidInput, Unavailable

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts a pod's service account."""


def default(
    *,
    kubeconfig_path: Path | None = None,
    context: str = "",
    home_first: bool = False,
    environment: Mapping[str, str] = os.environ,
    service_account: Path = SERVICE_ACCOUNT,
) -> Connection:
    """The connection of, in this order: ``kubeconfig_path``; the files in ``KUBECONFIG``; the service account of the
    pod that we run in; ``~/.kube/config``. To name a ``context`` is to mean a kubeconfig. With ``home_first``, the last
    two change places.

    Raises InvalidInput when there is none of them, or what there is cannot be used.
    """
    if kubeconfig_path is not None:
        return kubeconfig.load(kubeconfig_path, context=context)
    if named := [Path(path) for path in environment.get("KUBECONFIG", "").split(os.pathsep) if path]:
        return kubeconfig.load(*named, context=context)
    home = Path(environment.get("HOME", "/")) / ".kube" / "config"
    if home_first and os.access(home, os.R_OK):  # in a pod it may be that of another user
        return kubeconfig.load(home, context=context)
    if environment.get("KUBERNETES_SERVICE_HOST") and not context:
        return in_cluster(environment=environment, service_account=service_account)
    if home.exists():
        return kubeconfig.load(home, context=context)
    raise InvalidInput(
        "there is no Kubernetes to connect to: this is no pod, KUBECONFIG is not set, and there is no ~/.kube/config",
        cure="name a kubeconfig with --kubeconfig",
    )


def in_cluster(*, environment: Mapping[str, str] = os.environ, service_account: Path = SERVICE_ACCOUNT) -> Connection:
    """The connection of the pod that we run in, as its service account, whose token and authority the kubelet replaces
    in time.

    Raises InvalidInput when the pod has no account mounted.
    """
    host, port = environment.get("KUBERNETES_SERVICE_HOST", ""), environment.get("KUBERNETES_SERVICE_PORT") or "443"
    credentials = StoredCredentials(token=service_account / "token")
    try:
        credentials.read()
        connection = Connection(
            server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
            credentials=credentials,
            authority=(service_account / "ca.crt").read_text(encoding="ascii"),
            authority_file=service_account / "ca.crt",
            namespace=(service_account / "namespace").read_text(encoding="utf-8").strip(),
        )
        tls_context(connection, Credential())
    except (OSError, ValueError, Unavailable) as error:
        raise InvalidInput(
            f"the pod's service account cannot be used: {error}",
            source=str(service_account),
            cure="does the pod set automountServiceAccountToken: false?",
        ) from error
    return connection
