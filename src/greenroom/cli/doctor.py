"""``doctor``: what is in the way of Greenroom in a cluster, and how to cure it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from greenroom.cli.client import asynchronous

if TYPE_CHECKING:
    from greenroom.core.doctor import Report
    from greenroom.core.findings import Finding

SHOWN = 3
"""Of objects with the same finding, how many are named; JSON names all."""


@click.command()
@click.option("--kubeconfig", type=click.Path(dir_okay=False, path_type=Path), help="By default the one in use.")
@click.option("--context", default="", help="Of the kubeconfig; by default its current one.")
@click.option("-o", "--output", type=click.Choice(["json"]), help="Another form.")
@asynchronous
async def doctor(kubeconfig: Path | None, context: str, output: str | None) -> None:
    """Find what is in the way of Greenroom in a cluster, and tell the commands that cure it.

    It reads, and changes nothing. Exit code 0: there is nothing to do. 1: somebody has to look.
    """
    from greenroom.adapters import kube_default
    from greenroom.adapters.kube import KubeCluster
    from greenroom.app.doctor import examine

    async with KubeCluster(kube_default.default(kubeconfig_path=kubeconfig, context=context)) as cluster:
        report = await examine(cluster)
    click.echo(json.dumps(_document(report), indent=2) if output == "json" else "\n\n".join(_paragraphs(report)))
    sys.exit(1 if report.needs_somebody else 0)


def _document(report: Report) -> dict[str, object]:
    findings = [
        {
            "reason": each.reason,
            "objects": each.objects,
            "message": each.message,
            "cure": each.cure.splitlines(),
            "harmless": each.harmless,
        }
        for each in report.findings
    ]
    unread = [{"kind": str(kind), "message": why} for kind, why in report.unread.items()]
    return {"findings": findings, "unread": unread, "skipped": report.skipped}


def _paragraphs(report: Report) -> Iterator[str]:
    for finding in report.findings:
        yield _paragraph(finding)
    for kind, why in report.unread.items():
        yield _lines(f"{kind} not looked at", why, ())
    if report.skipped:
        yield f"Not checked: {', '.join(report.skipped)}."
    problems = sum(not finding.harmless for finding in report.findings)
    yield f"{problems} to cure." if problems else "Nothing to cure."


def _paragraph(finding: Finding) -> str:
    names = ", ".join(finding.objects[:SHOWN])
    more = len(finding.objects) - SHOWN
    title = f"{finding.reason}{' (harmless)' if finding.harmless else ''}: {names}"
    return _lines(f"{title} and {more} more" if more > 0 else title, finding.message, finding.cure.splitlines())


def _lines(title: str, message: str, cure: Sequence[str]) -> str:
    told = (title, f"  {message}", *(f"  $ {line}" for line in cure))
    return "\n".join("".join(letter if letter.isprintable() else "?" for letter in line) for line in told)
