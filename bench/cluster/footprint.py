"""What the operator needs while nothing happens, and what it writes when it is started anew."""

from __future__ import annotations

import asyncio

from bench.cluster.crowd import COMMITS, Deliveries, difference, watching_of
from bench.cluster.site import Operator, Sample, Site
from greenroom.model.manifest import text

RESTARTED_AT = 500
MEASURED_AT = 1000
IDLE_SECONDS = 30.0


async def footprint(site: Site) -> None:
    async with site.namespace() as app, watching_of(site, app) as watched:
        namespace = text(app, "metadata", "namespace")

        async def up_to(operator: Operator, first: int, last: int) -> None:
            side, numbers = Deliveries(operator.webhook), range(first, last + 1)
            await asyncio.gather(*(side.do("opened", number) for number in numbers))
            await watched.when(numbers, watched.told(COMMITS["opened"]))
            await watched.quiet()

        async with site.operator(namespace) as operator:
            await up_to(operator, 1, RESTARTED_AT)
        before = await site.metrics()
        async with site.operator(namespace) as operator:
            await _looked_at(operator, RESTARTED_AT)
            wrote, served = _writes(await operator.metrics()), _applies(difference(before, await site.metrics()))
            print(f"writes after a restart at {RESTARTED_AT} environments: {wrote:g}; the API server saw {served:g}")
            await up_to(operator, RESTARTED_AT + 1, MEASURED_AT)
            used = await _cpu(operator)
            await asyncio.sleep(IDLE_SECONDS)
            share = (await _cpu(operator) - used) / IDLE_SECONDS
            memory = _value(await operator.metrics(), "process_resident_memory_bytes") / 2**20
            print(f"at {MEASURED_AT} environments: {memory:.0f} MiB, {share:.1%} of a core while nothing happens")


async def _looked_at(operator: Operator, count: int) -> None:
    """Until the operator has looked at every environment."""
    while _value(await operator.metrics(), "greenroom_controller_reconcile_total") < count:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    await asyncio.sleep(2.0)  # for what would follow


async def _cpu(operator: Operator) -> float:
    return _value(await operator.metrics(), "process_cpu_seconds_total")


def _value(samples: list[Sample], name: str) -> float:
    return sum(sample.value for sample in samples if sample.name == name)


def _writes(samples: list[Sample]) -> float:
    return sum(
        sample.value
        for sample in samples
        if sample.name == "greenroom_api_writes_total" and not sample.labels["kind"].startswith("Lease")
    )


def _applies(samples: list[Sample]) -> float:
    """Applies and patches that the API server saw: nobody else sends any here."""
    return sum(
        sample.value
        for sample in samples
        if sample.name == "apiserver_request_total"
        and sample.labels["verb"] in ("APPLY", "PATCH")
        and sample.labels["resource"] != "leases"
    )
