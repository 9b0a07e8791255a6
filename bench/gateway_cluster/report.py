"""The figures, each with its peer where there is one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from statistics import quantiles

from bench.gateway_cluster.adding import COUNTED, Added, Size
from bench.gateway_cluster.throughput import CONNECTIONS, OURS, SECONDS, Compared, Run
from bench.machine import line

_PERCENTILES = (50, 95)

_FIGURES: Mapping[str, tuple[Callable[[Run], float], str]] = {
    "requests/s": (lambda run: run.report.rate, "/s"),
    "latency p50": (lambda run: run.report.p50 * 1000, "ms"),
    "latency p99": (lambda run: run.report.p99 * 1000, "ms"),
    "CPU of the proxy a request": (lambda run: run.cpu * 1e6, "µs"),
}


def show_size(size: Size) -> None:
    """The peer of a time is the writing of the GatewayRoute itself, which is part of it."""
    for percentile in _PERCENTILES:
        mine = _at(percentile, size, lambda added: added.seconds)
        plain = _at(percentile, size, lambda added: added.write)
        title = f"GatewayRoute written to first 200, p{percentile}"
        print(f"{title:<42} {mine:8.0f} ms   the write {plain:8.0f} ms   ratio {mine / plain:5.1f}")
    faults = sum((each.faults for each in size.added), Counter[int]())
    wrong = ", ".join(f"{status} {count} times" for status, count in faults.items()) or "none"
    not_found = sum(each.not_found for each in size.added)
    print(f"{len(size.added)} added; 404 before: {not_found} times; any other answer: {wrong}")
    control_plane, envoy = size.memory
    print(f"memory: control plane {control_plane:.0f} MiB, Envoy {envoy:.0f} MiB")
    cost = size.cost
    print(
        f"CPU an added route: control plane {cost.control_plane * 1000:.0f} ms, Envoy {cost.envoy * 1000:.0f} ms"
        f"   (of {COUNTED}, nobody asking)"
    )
    print(f"started anew: last host's 200 after {size.start:.1f} s; still after {size.rest:.0f} s", flush=True)


def _at(percentile: int, size: Size, seconds: Callable[[Added], float]) -> float:
    """In milliseconds."""
    return quantiles(map(seconds, size.added), n=100)[percentile - 1] * 1000


def show_compared(compared: Compared) -> None:
    failures = sum(run.report.failures for runs in compared.runs.values() for run in runs)
    print(f"{CONNECTIONS} connections, {SECONDS:g} s a run, each in turn, {failures} failures")
    peers = [name for name in compared.runs if name != OURS]
    for title, (figure, unit) in _FIGURES.items():
        mine = [figure(run) for run in compared.runs[OURS]]
        for peer in peers:
            line(title, mine, [figure(run) for run in compared.runs[peer]], peer_name=peer, unit=unit)
    for peer in peers:
        line("memory", [compared.memory[OURS]], [compared.memory[peer]], peer_name=peer, unit="MiB")
