"""The end of a container's log (``ports.Logs``), from whatever keeps logs: ``adapters.kube`` or ``local.workloads``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from greenroom.core.excerpt import LINES
from greenroom.ports import Logs

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
        kept, is_cut = b"", False
        async for chunk in source(namespace, pod, container, follow=False, tail=LINES):
            kept += chunk
            is_cut = is_cut or len(kept) > BYTES
            kept = kept[-BYTES:]
        lines = kept.decode(errors="replace").splitlines()
        return _without_half(lines)[-LINES:] if is_cut else lines[-LINES:]

    return read


def _without_half(lines: Sequence[str]) -> Sequence[str]:
    """The first line has lost its beginning, which may have been that of a secret."""
    return ["…", *lines[1:]]
