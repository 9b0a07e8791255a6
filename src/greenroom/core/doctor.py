"""The checks of ``greenroom doctor``, and what they make of a cluster. ``app.doctor`` reads it.

A check is a function from what is known to findings, so that another one is one line in the list here. It runs only
when every kind that it reads could be read: half of the truth would make it say what is not so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from greenroom.core import condition_checks, gateway_checks, leftovers
from greenroom.core.findings import Check, Finding, Known
from greenroom.model.manifest import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
    MUTATING_WEBHOOKS,
    NAMESPACE,
    POD,
    VALIDATING_WEBHOOKS,
    Kind,
)
from greenroom.model.mesh import GATEWAY_ROUTE, KINDS, MESH, VIRTUAL_GATEWAY

CHECKS = (
    Check("kinds", (), gateway_checks.kinds),
    Check("left-over webhooks", (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS), leftovers.webhooks),
    Check("other controllers", (DEPLOYMENT,), leftovers.controllers),
    Check("left-over finalizers", KINDS, leftovers.held),
    Check("left-over references", KINDS, leftovers.stale_references),
    Check(
        "Greenroom's webhooks",
        (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS, ENDPOINT_SLICE, VIRTUAL_GATEWAY),
        gateway_checks.webhooks,
    ),
    Check("labels of namespaces", (NAMESPACE, VIRTUAL_GATEWAY), gateway_checks.namespaces),
    Check("gateways", (VIRTUAL_GATEWAY, POD), gateway_checks.gateways),
    Check("pods", (VIRTUAL_GATEWAY, POD), gateway_checks.pods),
    Check("routes", (NAMESPACE, MESH, VIRTUAL_GATEWAY, GATEWAY_ROUTE), gateway_checks.routes),
    Check("conditions", KINDS, condition_checks.mesh_objects, repeats=True),
    Check("conditions of Gateway API", condition_checks.API_KINDS, condition_checks.api_objects, repeats=True),
)


@dataclass(frozen=True, slots=True)
class Report:
    """``unread`` tells by kind why it could not be read; ``skipped`` are the checks that need one of those."""

    findings: tuple[Finding, ...]
    unread: Mapping[Kind, str]
    skipped: tuple[str, ...]

    @property
    def needs_somebody(self) -> bool:
        """What could not be looked at may be wrong, too."""
        return bool(self.unread) or not all(finding.harmless for finding in self.findings)


def kinds_read(checks: Iterable[Check] = CHECKS) -> tuple[Kind, ...]:
    return tuple(sorted({kind for check in checks for kind in check.reads}))


def diagnose(known: Known, unread: Mapping[Kind, str], checks: Iterable[Check] = CHECKS) -> Report:
    """Harmless findings last. Those that differ in their objects only become one."""
    possible = [check for check in checks if unread.keys().isdisjoint(check.reads)]
    skipped = tuple(check.name for check in checks if check not in possible)
    findings = _merged(_found(known, possible))
    return Report(tuple(sorted(findings, key=lambda each: each.harmless)), unread, skipped)


def _found(known: Known, checks: Iterable[Check]) -> Iterator[Finding]:
    told: set[tuple[str, str]] = set()
    for check in checks:
        found = tuple(check.find(known))
        for finding in found:
            if not (check.repeats and told.issuperset((finding.reason, each) for each in finding.objects)):
                yield finding
        told |= {(finding.reason, each) for finding in found for each in finding.objects}


def _merged(findings: Iterable[Finding]) -> Iterator[Finding]:
    objects: dict[Finding, dict[str, None]] = {}
    for finding in findings:
        objects.setdefault(replace(finding, objects=()), {}).update(dict.fromkeys(finding.objects))
    return (replace(finding, objects=tuple(names)) for finding, names in objects.items())
