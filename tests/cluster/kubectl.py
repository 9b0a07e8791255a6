"""kubectl, as people and scripts run it."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from pathlib import Path


class KubectlFailed(AssertionError):
    """The message is what it said."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """``program`` with a kubeconfig and, unless it is told otherwise, a namespace."""

    program: Path
    kubeconfig: Path
    namespace: str

    async def __call__(self, *arguments: str, given: str = "") -> str:
        """What it prints, when it is given that. Raises KubectlFailed."""
        process = await asyncio.create_subprocess_exec(
            *(str(self.program), f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}", *arguments),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        output, errors = await process.communicate(given.encode())
        if process.returncode:
            raise KubectlFailed(f"kubectl {' '.join(arguments)}: {errors.decode(errors='replace')}")
        return output.decode()
