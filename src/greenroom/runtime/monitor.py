"""What a loop tells of its work to whoever counts it: ``app.metrics`` does, for Prometheus, and for the kubelet."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from enum import Enum
from typing import TypeAlias


class Outcome(Enum):
    """How a reconcile ended, in controller-runtime's words."""

    SUCCESS = "success"
    REQUEUE_AFTER = "requeue_after"
    ERROR = "error"


class Monitor:
    """One loop's, most of them controllers'. This one lets everything pass unseen. ``waiting`` is the number of keys
    that wait now."""

    def running(self, is_stuck: Callable[[], bool]) -> AbstractContextManager[None]:
        """The loop runs in this block. ``is_stuck`` tells whether it does not go on any more."""
        return nullcontext()

    def added(self, *, waiting: int) -> None:
        """A key is to be handled."""

    def retried(self) -> None:
        """A key failed and gets another turn."""

    def began(self, waited: float, *, waiting: int) -> None:
        """A key that waited so many seconds is being handled."""

    def ended(self, seconds: float, outcome: Outcome) -> None:
        """A key was handled, in so many seconds."""


Monitors: TypeAlias = Callable[[str], Monitor]
"""The monitor of the loop of a name."""

UNWATCHED = Monitor()


def unwatched(_: str) -> Monitor:
    return UNWATCHED
