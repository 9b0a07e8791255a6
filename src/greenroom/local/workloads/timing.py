"""How patient the one-machine cluster is. All times in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field

from greenroom.runtime.backoff import Backoff


@dataclass(frozen=True, slots=True)
class Timing:
    """The defaults are the kubelet's, but shorter where a person waits."""

    drain: float = 0.5
    """How long a ready pod goes on serving after its deletion, so that gateways can turn away from it first."""

    patience: float = 30.0
    """How long a process may take to open its port before its pod says so."""

    restart: Backoff = field(default=Backoff(base=1.0, cap=300.0))
    """Between the end of a process and its next start."""

    settled: float = 600.0
    """How long a process must run for its earlier crashes to be forgotten."""

    missing: Backoff = field(default=Backoff(base=1.0, cap=30.0))
    """Between two looks for a commit that is not there."""

    build: float = 600.0
    """How long a build may take."""

    failed: Backoff = field(default=Backoff(base=10.0, cap=300.0))
    """Between two attempts at a build that fails."""


DEFAULT_TIMING = Timing()
