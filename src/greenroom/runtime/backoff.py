"""How long to wait after a failure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """``base`` seconds after the first failure, ``factor`` times as long after each more, at most ``cap``."""

    base: float = 0.05
    factor: float = 2.0
    cap: float = 60.0

    def delay(self, failures: int) -> float:
        """Seconds to wait after that many failures in a row; 0 after none."""
        if failures == 0:
            return 0.0
        exponent = min(failures - 1, 100)  # after days of failures the power would overflow
        return min(self.cap, self.base * self.factor**exponent)
