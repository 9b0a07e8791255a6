"""A load generator that keeps connections open: ``python -m bench.load PORT HOSTS CONNECTIONS SECONDS`` prints JSON.

``HOSTS`` is one, or several with commas between them, which are asked in turn.

It is a program of its own, so that the time it takes is not taken from the event loop that is measured. It talks to
127.0.0.1 only.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle

import msgspec


class Report(msgspec.Struct, frozen=True):
    """What one run saw. Latencies are in seconds."""

    requests: int
    failures: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


@dataclass(slots=True)
class _Tally:
    latencies: list[float] = field(default_factory=list)
    failures: int = 0


async def _connection(port: int, requests: Iterator[bytes], deadline: float, tally: _Tally) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while (start := time.perf_counter()) < deadline:
            writer.write(next(requests))
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(length)
            tally.latencies.append(time.perf_counter() - start)
            tally.failures += not head.startswith(b"HTTP/1.1 200")
    finally:
        writer.close()


async def run(port: int, hosts: str, connections: int, seconds: float) -> Report:
    """Keep ``connections`` busy with one request after the other for ``seconds``."""
    requests = cycle([f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode() for host in hosts.split(",")])
    tally = _Tally()
    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_connection(port, requests, start + seconds, tally))
    ordered = sorted(tally.latencies)
    return Report(
        requests=len(ordered),
        failures=tally.failures,
        seconds=time.perf_counter() - start,
        p50=ordered[len(ordered) // 2],
        p99=ordered[int(len(ordered) * 0.99)],
    )


async def measure(port: int, hosts: str, *, connections: int, seconds: float) -> Report:
    """Run this module as a program and read its report."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.load", str(port), hosts, str(connections), str(seconds),
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for this program, which ends the other
    )  # fmt: skip
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise RuntimeError(f"the load generator ended with exit code {process.returncode}; see above")
    return msgspec.json.decode(output, type=Report)


if __name__ == "__main__":
    report = asyncio.run(run(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
    print(msgspec.json.encode(report).decode())
