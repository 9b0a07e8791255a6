"""``serve``: the operator, in a Kubernetes cluster."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, Literal

import click

from greenroom.cli.client import asynchronous
from greenroom.cli.forge_options import forge_options
from greenroom.model.errors import InvalidInput

SECRET_VARIABLE = "GREENROOM_WEBHOOK_SECRET"  # noqa: S105 - where to find it

_port = click.IntRange(0, 65535)


# The ports have no variables: for a Service named greenroom-webhook, Kubernetes sets GREENROOM_WEBHOOK_PORT in every
# pod of its namespace, to a URL.
@click.command()
@click.option(
    "-n",
    "--namespace",
    envvar="GREENROOM_NAMESPACE",
    default="",
    help="Look at this namespace only, not at all.",
)
@click.option(
    "--webhook-secret-file",
    "secret_files",
    envvar="GREENROOM_WEBHOOK_SECRET_FILE",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"File with the webhook's secret, else ${SECRET_VARIABLE}. Given several times, each is accepted.",
)
@click.option(
    "--url-scheme",
    envvar="GREENROOM_URL_SCHEME",
    type=click.Choice(["http", "https"]),
    default="https",
    show_default=True,
    help="Of the environments' addresses, as they are shown.",
)
@click.option(
    "--gateways",
    "release",
    default="",
    metavar="NAME",
    help="Serve VirtualGateways. The Services NAME-ads and NAME-admission lead here, as the chart makes them.",
)
@forge_options
@click.option("--envoy-image", default="", help="Upstream Envoy, for the pods of gateways.")
@click.option(
    "--pod-address",
    envvar="GREENROOM_POD_ADDRESS",
    default="",
    help="This pod's status.podIP: if it is one of IPv6, gateways listen on IPv6, too.",
)
@click.option("--kubeconfig", type=click.Path(dir_okay=False, path_type=Path), help="By default the pod's account.")
@click.option("--context", default="", help="Of the kubeconfig; by default its current one.")
@click.option("--address", default=None, help="Listen on this address; by default on all.")
@click.option("--webhook-port", type=_port, default=3000, show_default=True)
@click.option("--metrics-port", type=_port, default=8080, show_default=True)
@click.option("--health-port", type=_port, default=8081, show_default=True)
@click.option("--ads-port", type=_port, default=18000, show_default=True, help="For Envoys.")
@click.option("--admission-port", type=_port, default=9443, show_default=True, help="For the API server.")
@asynchronous
async def serve(
    namespace: str,
    secret_files: tuple[Path, ...],
    url_scheme: Literal["http", "https"],
    release: str,
    envoy_image: str,
    pod_address: str,
    kubeconfig: Path | None,
    context: str,
    address: str | None,
    webhook_port: int,
    metrics_port: int,
    health_port: int,
    ads_port: int,
    admission_port: int,
    **github: Any,
) -> None:
    """Run the operator in a Kubernetes cluster. Any number of replicas may run; one of them leads."""
    from greenroom.adapters import kube_default
    from greenroom.app.forging import ForgeSettings
    from greenroom.app.gateways import GatewaySettings
    from greenroom.app.serve import ServeSettings, operator

    if release and not envoy_image:
        raise InvalidInput("--gateways needs Envoy's image", cure="name it with --envoy-image")
    gateways = GatewaySettings(
        release, envoy_image, pod_address=pod_address, ads_port=ads_port, admission_port=admission_port
    )
    settings = ServeSettings(
        secrets=_secrets(secret_files),
        namespace=namespace,
        url_scheme=url_scheme,
        host=address,
        webhook_port=webhook_port,
        metrics_port=metrics_port,
        health_port=health_port,
        gateways=gateways if release else None,
        forge=ForgeSettings.of(**github),
    )
    async with operator(settings, kube_default.default(kubeconfig_path=kubeconfig, context=context)):
        await asyncio.Event().wait()


def _secrets(files: tuple[Path, ...]) -> tuple[bytes, ...]:
    """From the files, or else from the variable. Raises InvalidInput when there is none."""
    if not files:
        secret = os.environb.get(SECRET_VARIABLE.encode(), b"")
        if not secret:
            cure = f"set {SECRET_VARIABLE}, or name its file with --webhook-secret-file"
            raise InvalidInput("the webhook has no secret", cure=cure)
        return (secret,)
    return tuple(_secret(file) for file in files)


def _secret(file: Path) -> bytes:
    try:
        secret = file.read_bytes().rstrip(b"\r\n")  # which editors and `echo` add
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", source=str(file)) from error
    if not secret:
        raise InvalidInput("is empty", source=str(file), cure="put the webhook's secret into it")
    return secret
