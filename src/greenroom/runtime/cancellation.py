"""Telling our own cancellation from one that comes out of something awaited."""

from __future__ import annotations

import asyncio


def is_being_cancelled() -> bool:
    """Whether a CancelledError just caught was meant for the present task.

    If not, something it awaited was cancelled elsewhere, which is a failure like any other. Let through, it would end
    the task without a trace: to a TaskGroup a cancelled task is no error.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
