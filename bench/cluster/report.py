"""The figures of a crowd, each next to its peer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from bench.cluster.crowd import CHANGES, Operated, Run, Timing
from bench.cluster.site import Sample
from bench.machine import line

PEER = "plain writes"
TITLES = {"opened": "opened", "synchronize": "pushed", "closed": "closed"}

_FIGURES: Mapping[str, tuple[Callable[[Timing], float], str]] = {
    "pull requests/s": (lambda timing: timing.rate, "/s"),
    "p50": (lambda timing: timing.p50, "s"),
    "p95": (lambda timing: timing.p95, "s"),
    "CPU of all programs": (lambda timing: sum(timing.cpu.values()), "s"),
}


def show(ours: Sequence[Operated], plain: Sequence[Run]) -> None:
    """``CPU`` is that of the API server, etcd, the controllers, the operator, and of the bench: it says what was done
    even where the machine does something else beside."""
    for action, title in TITLES.items():
        for name, (figure, unit) in _FIGURES.items():
            mine = [figure(each.run[action]) for each in ours]
            line(f"{title}, {name}", mine, [figure(each[action]) for each in plain], peer_name=PEER, unit=unit)
            if action == "synchronize":
                knowing = [figure(each[CHANGES]) for each in plain]
                line(f"{title}, {name}", mine, knowing, peer_name=CHANGES, unit=unit)
        if action != "closed":
            told = [max(each.run[action].told) for each in ours]
            line(f"{title}, all told", told, [max(each[action].seconds) for each in plain], peer_name=PEER)
        used = median(each.run[action].cpu["operator"] / len(each.run[action].seconds) for each in ours)
        print(f"{f'{title}, CPU of the operator':<42} {used * 1000:8.1f} ms a pull request")
    print(f"deliveries not answered in time: {sum(each.failed for each in ours)}")
    for verb, (counted, served) in _writes(ours).items():
        checked = f"; the API server counted {served:.2f}" if served else ""
        print(f"{f'writes, {verb}':<42} {counted:8.2f} a pull request{checked}", flush=True)


def _writes(ours: Sequence[Operated]) -> dict[str, tuple[float, float]]:
    """Writes for a pull request that is opened, pushed to and closed, by verb: the operator's count, and the server's.

    The server counts everybody's. But nobody else applies, or patches these kinds; of deletions it cannot be told whose
    they are.
    """
    counted: defaultdict[str, float] = defaultdict(float)
    served: defaultdict[str, float] = defaultdict(float)
    for each in ours:
        for sample in each.operator:
            counted[_written(sample)] += sample.value
        for sample in each.server:
            served[_served(sample)] += sample.value
    pulls = sum(len(each.run["opened"].seconds) for each in ours)
    return {verb: (counted[verb] / pulls, served[verb] / pulls) for verb in sorted(counted) if verb}


def _written(sample: Sample) -> str:
    """What a sample of the operator counts; ``""`` is for something else."""
    if sample.name != "greenroom_api_writes_total" or sample.labels["kind"].startswith("Lease"):
        return ""
    return sample.labels["verb"] if sample.labels["result"] == "ok" else f"{sample.labels['verb']}, refused"


def _served(sample: Sample) -> str:
    """The same for a sample of the API server."""
    labels = sample.labels
    if sample.name != "apiserver_request_total" or not labels["code"].startswith("20"):
        return ""
    if labels["verb"] == "PATCH" and labels["resource"] in ("prs", "reviewapps"):
        return "patch_status"
    return "apply" if labels["verb"] == "APPLY" and labels["resource"] != "leases" else ""
