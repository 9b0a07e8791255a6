"""From writing a GatewayRoute to the first 200 at its host, and what a new route costs."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

from bench.gateway_cluster.hosts import host_name
from bench.gateway_cluster.processes import at_rest
from bench.gateway_cluster.progress import progress
from bench.gateway_cluster.site import Gateway, Site

TIMED = 30
COUNTED = 10
_STEP_SECONDS = 0.001
_BEFORE_SECONDS, _AFTER_SECONDS = 0.02, 0.1
_LONGEST_SECONDS = 60.0
_REST_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Added:
    """One host that came. ``seconds`` are from the writing to the first 200, of which the API server took ``write``.

    ``faults`` are all answers but 404 before the first 200, and 200 from then on.
    """

    seconds: float
    write: float
    not_found: int
    faults: Counter[int]


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a new route that nobody asks for until its status says that it is served: CPU seconds."""

    control_plane: float
    envoy: float


@dataclass(frozen=True, slots=True)
class Size:
    """What was seen with so many hosts. ``start`` is from nothing to the last host's 200, ``rest`` until all statuses
    were written and everything was still; memory is in MiB."""

    hosts: int
    start: float
    rest: float
    memory: tuple[float, float]
    added: list[Added]
    cost: Cost


async def started(site: Site, gateway: Gateway, begun: float) -> float:
    """Seconds since ``begun`` until the last of the known hosts answers 200."""
    async with asyncio.timeout(_REST_SECONDS):
        await gateway.envoy.listening(site.port)
        async for status in _answers(site.port, host_name(site.known - 1)):
            if status == 200:
                break
    return time.perf_counter() - begun


async def measured(site: Site, gateway: Gateway, begun: float) -> Size:
    hosts = site.known
    start = await started(site, gateway, begun)
    await at_rest(gateway.both, seconds=_REST_SECONDS)
    rest = time.perf_counter() - begun
    memory = gateway.control_plane.memory, gateway.envoy.memory
    timed, counted = await site.prepare(TIMED), await site.prepare(COUNTED)
    await at_rest(gateway.both, seconds=_REST_SECONDS)
    added = []
    for number in timed:
        added.append(await _added(site, number))
        await site.told(number)  # one at a time: the next one does not find it busy
        progress(f"{len(added)} of {TIMED} hosts added")
    progress("")
    await at_rest(gateway.both, seconds=_REST_SECONDS)
    return Size(hosts, start, rest, memory, added, await _cost(site, gateway, counted))


async def _added(site: Site, number: int) -> Added:
    polling = asyncio.create_task(_polled(site.port, host_name(number)))
    try:
        await asyncio.sleep(_BEFORE_SECONDS)
        begun = time.perf_counter()
        await site.write_route(number)
        written = time.perf_counter()
        first, not_found, faults = await polling
    finally:
        polling.cancel()
    return Added(first - begun, written - begun, not_found, faults)


async def _polled(port: int, host: str) -> tuple[float, int, Counter[int]]:
    """When the first 200 came, the 404s before it, and all other answers until a while after it."""
    first, not_found, faults = 0.0, 0, Counter[int]()
    async with asyncio.timeout(_LONGEST_SECONDS):
        async for status in _answers(port, host):
            now = time.perf_counter()
            if status == 200:
                first = first or now
            elif status == 404 and not first:
                not_found += 1
            else:
                faults[status] += 1
            if first and now > first + _AFTER_SECONDS:
                break
    return first, not_found, faults


async def _answers(port: int, host: str) -> AsyncIterator[int]:
    """The status of one request after the other, over one connection, a millisecond after each answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while True:
            writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
            length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
            await reader.readexactly(length)
            yield int(lines[0].split()[1])
            await asyncio.sleep(_STEP_SECONDS)
    finally:
        writer.close()


async def _cost(site: Site, gateway: Gateway, numbers: range) -> Cost:
    before = [each.cpu for each in gateway.both]
    for number in numbers:
        await site.write_route(number)
        await site.told(number)
    used = [(each.cpu - then) / len(numbers) for each, then in zip(gateway.both, before, strict=True)]
    return Cost(*used)
