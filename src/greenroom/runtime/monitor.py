"""What a controller tells of its work to whoever counts it: ``app.metrics`` does, for Prometheus."""

from __future__ import annotations

from enum import Enum


class Outcome(Enum):
    """How a reconcile ended, in controller-runtime's words."""

    SUCCESS = "success"
    REQUEUE_AFTER = "requeue_after"
    ERROR = "error"


class Monitor:
    """One controller's. This one lets everything pass unseen. ``waiting`` is the number of keys that wait now."""

    def added(self, *, waiting: int) -> None:
        """A key is to be handled."""

    def retried(self) -> None:
        """A key failed and gets another turn."""

    def began(self, waited: float, *, waiting: int) -> None:
        """A key that waited so many seconds is being handled."""

    def ended(self, seconds: float, outcome: Outcome) -> None:
        """A key was handled, in so many seconds."""


UNWATCHED = Monitor()
