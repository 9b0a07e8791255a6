"""Ports of 127.0.0.1 for processes that cannot listen on the port their container declares."""

from __future__ import annotations

import socket
import zlib
from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

from greenroom.model.errors import Unavailable

K = TypeVar("K", bound=Hashable)

FIRST, LAST = 20000, 31999
"""Below the range from which kernels choose ports for outgoing connections (Linux: 32768 and up)."""


class PortPool:
    """Hands out each port once. A port given back is not given out again before all others were.

    That matters: a gateway that has not heard yet that an endpoint is gone must not find another pull request there.
    For the same reason two instances on one machine begin at different places.
    """

    def __init__(self, instance: str, *, first: int = FIRST, last: int = LAST) -> None:
        self._first, self._size = first, last - first + 1
        self._next = zlib.crc32(instance.encode()) % self._size
        self._taken: set[int] = set()

    def take(self, wanted: int = 0) -> int:
        """A free port, ``wanted`` if that one is free. Raises Unavailable when all are in use."""
        if self._first <= wanted < self._first + self._size and self._is_free(wanted):
            self._taken.add(wanted)
            return wanted
        for _ in range(self._size):
            port = self._first + self._next
            self._next = (self._next + 1) % self._size
            if self._is_free(port):
                self._taken.add(port)
                return port
        raise Unavailable(f"no port of 127.0.0.1 is free between {self._first} and {self._first + self._size - 1}")

    def take_all(self, wanted: Mapping[K, int]) -> dict[K, int]:
        """A free port for each, or none of them. Raises Unavailable."""
        taken: dict[K, int] = {}
        try:
            for key, port in wanted.items():
                taken[key] = self.take(port)
        except Unavailable:
            self.give_back(taken.values())
            raise
        return taken

    def give_back(self, ports: Iterable[int]) -> None:
        self._taken.difference_update(ports)

    def is_bindable(self, port: int) -> bool:
        """Whether a process could listen there now."""
        with socket.socket() as probe:
            # Without it a connection that has just ended would keep a port from its own application.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
        return True

    def _is_free(self, port: int) -> bool:
        return port not in self._taken and self.is_bindable(port)
