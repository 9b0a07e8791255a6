"""Probes of containers: is it started, is it ready, is it alive?

The rules are those of the kubelet, but for one: until a probe succeeds for the first time it is tried every moment,
not once in ``periodSeconds``, because somebody is waiting for this preview.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

from greenroom.local.workloads.environment import UNDECLARED, ConfigError
from greenroom.model.manifest import Json, get, items, number, text

HOST = "127.0.0.1"

_FIRST_DELAY = 0.05
_GROWTH = 1.3
_SLOWEST = 1.0

Check = Callable[[], Awaitable[bool]]
"""One try, without a time limit of its own. It may raise OSError, ValueError or ClientError: a failure."""

Run = Callable[[list[str]], Awaitable[int]]
"""Runs a command in the container and answers its exit code; when cancelled the command is gone."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What to check and how often; times in seconds."""

    check: Check
    initial_delay: float
    period: float
    timeout: float
    successes: int
    failures: int

    async def succeeds(self) -> bool:
        with suppress(TimeoutError, OSError, ValueError, aiohttp.ClientError):
            async with asyncio.timeout(self.timeout):
                return await self.check()
        return False

    async def first_success(self) -> None:
        """Wait until it has succeeded as often in a row as it must."""
        await asyncio.sleep(self.initial_delay)
        delay, streak = _FIRST_DELAY, 0
        while True:
            streak = streak + 1 if await self.succeeds() else 0
            if streak >= self.successes:
                return
            await asyncio.sleep(min(delay, self.period))
            delay = min(delay * _GROWTH, _SLOWEST)

    async def verdicts(self) -> AsyncIterator[bool]:
        """Once a period, beginning one period from now: True or False when that many tries in a row say so."""
        streak, last = 0, True
        while True:
            await asyncio.sleep(self.period)
            good = await self.succeeds()
            streak, last = (streak + 1 if good == last else 1), good
            if streak >= (self.successes if good else self.failures):
                yield good

    async def failure(self) -> None:
        """Wait until it has failed as often in a row as it takes."""
        await asyncio.sleep(self.initial_delay)
        async for good in self.verdicts():
            if not good:
                return

    @property
    def patience(self) -> float:
        """How long a startup probe may go without success."""
        return self.initial_delay + self.period * self.failures


def probe_of(container: Json, name: str, ports: Mapping[int, int], run: Run) -> Probe | None:
    """The container's probe of that name. Raises ConfigError for one that cannot be done here."""
    spec = get(container, name)
    if spec is None:
        return None
    return Probe(
        check=_check(container, name, spec, ports, run),
        initial_delay=number(spec, "initialDelaySeconds"),
        period=max(1, number(spec, "periodSeconds", default=10)),
        timeout=max(1, number(spec, "timeoutSeconds", default=1)),
        successes=max(1, number(spec, "successThreshold", default=1)),
        failures=max(1, number(spec, "failureThreshold", default=3)),
    )


def listening_probe(port: int) -> Probe:
    """For a container without a readiness probe: it is ready when its port is open."""
    return Probe(lambda: accepts(port), initial_delay=0, period=_SLOWEST, timeout=1, successes=1, failures=1)


async def accepts(port: int) -> bool:
    """Whether the port takes a TCP connection. Raises OSError when it does not."""
    _, writer = await asyncio.open_connection(HOST, port)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True


def _check(container: Json, name: str, spec: Json, ports: Mapping[int, int], run: Run) -> Check:
    if (action := get(spec, "httpGet")) is not None:
        port = _port(container, name, action, ports)
        return lambda: _http(action, port)
    if (action := get(spec, "tcpSocket")) is not None:
        port = _port(container, name, action, ports)
        return lambda: accepts(port)
    if (action := get(spec, "exec")) is not None:
        command = [str(word) for word in items(action, "command")]
        return lambda: _exec(run, command)
    raise ConfigError(f"{name}: one machine can do httpGet, tcpSocket and exec only")


def _port(container: Json, name: str, action: Json, ports: Mapping[int, int]) -> int:
    """The real port for the number or name that a probe gives."""
    wanted = get(action, "port")
    for port in items(container, "ports"):
        declared = number(port, "containerPort")
        named = wanted in (declared, str(declared)) or (wanted and wanted == text(port, "name"))
        if named and declared in ports:
            return ports[declared]
    if not items(container, "ports") and UNDECLARED in ports:
        return ports[UNDECLARED]
    raise ConfigError(f"{name}: the container declares no port {wanted}")


async def _http(action: Json, port: int) -> bool:
    """Any answer from 200 to 399 is a success, whatever its certificate."""
    scheme = text(action, "scheme").lower() or "http"
    path = text(action, "path")
    url = f"{scheme}://{HOST}:{port}/{path.removeprefix('/')}"
    headers = {text(header, "name"): text(header, "value") for header in items(action, "httpHeaders")}
    # A connection of its own: one kept open would not tell whether the port is still served. As the kubelet does, do
    # not verify: the certificate is for the host of the preview, not for this machine.
    connector = aiohttp.TCPConnector(force_close=True, ssl=False)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(url, headers=headers, allow_redirects=False) as response,
    ):
        return 200 <= response.status < 400


async def _exec(run: Run, command: list[str]) -> bool:
    return await run(command) == 0
