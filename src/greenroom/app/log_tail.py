"""The end of a container's log (``ports.Logs``), from whatever keeps logs: ``adapters.kube`` or ``local.workloads``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from greenroom.ports import Logs

LINES = 200
"""More than are shown: a private key of which only the middle is seen could not be told from other text."""
BYTES = 1 << 20
"""Of what is read the end that is kept; a line may be of any length."""


class LogSource(Protocol):
    """Where containers' output is kept."""

    def __call__(
        self, namespace: str, pod: str, container: str, *, follow: bool, tail: int | None
    ) -> AsyncIterator[bytes]:
        """The output in chunks, from the last ``tail`` lines on. Raises ClusterError."""


def last_lines(source: LogSource) -> Logs:
    """What is no UTF-8 is replaced."""

    async def read(namespace: str, pod: str, container: str) -> Sequence[str]:
        kept = b""
        async for chunk in source(namespace, pod, container, follow=False, tail=LINES):
            kept = (kept + chunk)[-BYTES:]
        return kept.decode(errors="replace").splitlines()[-LINES:]

    return read
