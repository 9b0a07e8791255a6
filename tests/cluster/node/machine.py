"""A machine of its own, made of Linux namespaces: it has its own processes, mounts and network.

Nothing of it outlasts its first process: then the kernel ends all others, and takes mounts and links away. That first
process ends with the test run, even if the run was killed. What is left then are empty cgroups, which the next run
removes. A link leads to it from the machine that runs the tests, and nowhere else: nothing in it reaches the internet.
"""

from __future__ import annotations

import errno
import fcntl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
from tests.cluster.kubernetes import SERVICES
from tests.cluster.programs import Programs

HOST = "198.18.0.1"
"""The address of the machine that runs the tests. Like all here, it is of the block that RFC 2544 sets aside."""

NODE = "198.18.0.2"
PODS = "198.18.1.0/24"

CGROUP = "greenroom-test"
"""The cgroup of all pods."""

_CGROUPS = Path("/sys/fs/cgroup")
_CONTROLLERS = ("cpu", "cpuset", "hugetlb", "memory", "pids")  # that kubelet wants of cgroups of version 2

_LINK = "greenroom-test"
_TAKEDOWN = 10.0  # seconds that the kernel has for it
_NAMESPACES = ("--net", "--mount", "--pid", "--ipc", "--uts")

# What kubelet wants of the kernel, and would write. Only the node is to believe it: these are not per namespace.
_SYSCTLS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}


@contextmanager
def alone() -> Iterator[None]:
    """A block in which no other test run has a machine, with the same addresses. Raises RuntimeError if one has."""
    with Path("/run/greenroom-test.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError("another test run has a node on this machine: let it end first") from error
        yield


class Machine:
    """Files go to ``folder``. ``within`` is the command that runs another one there."""

    def __init__(self, folder: Path, programs: Programs) -> None:
        self._folder = folder
        self._programs = programs
        self.within: tuple[str, ...] = ()

    def start(self) -> None:
        """Raises RuntimeError."""
        _await_absence()
        _remove_cgroups()
        _make_cgroups()
        # As the first process it is the parent of those that lost theirs; this signal ignored, the kernel reaps them.
        first = ("--fork", "--kill-child", "--mount-proc", "env", "--ignore-signal=CHLD", "sleep", "infinity")
        outer = psutil.Process(self._programs.start("unshare", *_NAMESPACES, *first))
        self._programs.wait("unshare", lambda: [child.name() for child in outer.children()] == ["sleep"])
        [inner] = outer.children()
        self.within = ("nsenter", f"--target={inner.pid}", *_NAMESPACES, "--")
        self._hide_host()
        self._link(inner.pid)

    def stop(self) -> None:
        """To be called when its first process has ended."""
        _await_absence()
        _remove_cgroups()

    def _hide_host(self) -> None:
        """Programs write to fixed places, which are not theirs on the host."""
        for folder in ("/run", "/var/log"):
            self._inside("mount", "-t", "tmpfs", "greenroom-test", folder)
        # There may be anything in /var/lib, this checkout included: it can be seen, and what is written goes elsewhere.
        self._inside("mkdir", "/run/written", "/run/work")
        layers = "lowerdir=/var/lib,upperdir=/run/written,workdir=/run/work"
        self._inside("mount", "-t", "overlay", "greenroom-test", "-o", layers, "/var/lib")
        for name, value in _SYSCTLS.items():
            file = self._folder / name.replace("/", ".")
            file.write_text(f"{value}\n")
            self._inside("mount", "--bind", str(file), f"/proc/sys/{name}")

    def _link(self, inner: int) -> None:
        _run("ip", "link", "add", _LINK, "type", "veth", "peer", "name", "host", "netns", str(inner))
        _run("ip", "address", "add", f"{HOST}/30", "dev", _LINK)
        _run("ip", "link", "set", _LINK, "up")
        self._inside("ip", "address", "add", f"{NODE}/30", "dev", "host")
        for link in ("lo", "host"):
            self._inside("ip", "link", "set", link, "up")
        self._inside("ip", "route", "add", "default", "via", HOST)
        for network in (PODS, SERVICES):
            _run("ip", "route", "add", network, "via", NODE)

    def _inside(self, *command: str) -> None:
        _run(*self.within, *command)


def processes(container: str) -> list[Path]:
    """The folders in /proc, on the machine that runs the tests, of a container whose id is ``containerd://…``."""
    name = container.partition("//")[2]
    found: list[Path] = []
    for file in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            if name in file.read_text():
                found.append(file.parent)
        except OSError:
            continue  # it has ended
    return found


def _await_absence() -> None:
    """The kernel takes a machine down in its own time, that of a run that was killed as well."""
    _until(
        lambda: not Path("/sys/class/net", _LINK).exists(),
        f"an earlier machine is still there: see `ip link show {_LINK}`",
    )


def _until(holds: Callable[[], bool], otherwise: str) -> None:
    """Raises RuntimeError."""
    deadline = time.monotonic() + _TAKEDOWN
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(otherwise)
        time.sleep(0.1)


def _make_cgroups() -> None:
    """Kubelet wants to find it, so that it is that of this node and of no other."""
    controllers = _CGROUPS / "cgroup.controllers"
    if controllers.exists():
        enabled = [f"+{name}" for name in controllers.read_text().split() if name in _CONTROLLERS]
        (_CGROUPS / "cgroup.subtree_control").write_text(" ".join(enabled))
        (_CGROUPS / CGROUP).mkdir()
        return
    for hierarchy in _CGROUPS.iterdir():  # of version 1, one or several controllers each
        if not hierarchy.is_symlink():
            (hierarchy / CGROUP).mkdir()


def _remove_cgroups() -> None:
    """When the link is gone, the last processes may still be on their way out, and their groups are busy."""
    for root in (*_CGROUPS.glob(CGROUP), *_CGROUPS.glob(f"*/{CGROUP}")):
        for folder in (*sorted((each for each in root.rglob("*") if each.is_dir()), reverse=True), root):
            _until(partial(_is_removed, folder), f"processes of an earlier machine are still there: {folder}")


def _is_removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
