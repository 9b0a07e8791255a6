"""Where a GitHub server's API is, and which repositories are its own: the borders that credentials do not cross.

A repository is named by the address people open in a browser. Whoever may write a ReviewApp chooses it, so it is taken
apart and checked before anything of it becomes part of a request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from yarl import URL

from greenroom.model.errors import ForgeForbidden, ForgeInvalid, InvalidInput

_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
_RENAMED = re.compile(r"/repositories/[0-9]+(/|\Z)")
"""Where GitHub sends who asks by a former name: to the repository's id, which stays ("Best practices", redirects)."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository's two names, checked: they can stand in a path as they are."""

    owner: str
    name: str

    @property
    def path(self) -> str:
        """Of its part of the API."""
        return f"/repos/{self.owner}/{self.name}"

    @property
    def key(self) -> str:
        """The same for every way of writing it: GitHub ignores letter case in names."""
        return f"{self.owner}/{self.name}".lower()

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"


class Server:
    """A GitHub server by the address people open: ``https://github.com``, or a GitHub Enterprise Server's.

    Its API is at ``https://api.github.com``, at ``https://api.NAME.ghe.com`` with data residency, else below
    ``/api/v3`` ("Getting started with the REST API"). Raises InvalidInput for what is no server's address.
    """

    def __init__(self, address: str) -> None:
        origin = _origin(address)
        if origin is None or URL(address).path.strip("/"):
            raise InvalidInput(f"{address!r} is not a server's address", cure="write it like https://github.com")
        self._origin = origin
        self.api = _api(origin)

    def __str__(self) -> str:
        return f"GitHub at {self.api.host}"

    def serves(self, repository: str) -> bool:
        """Whether the repository of this address is on this server, and on no other."""
        return _origin(repository) == self._origin

    def repository(self, address: str) -> Repository:
        """Raises ForgeForbidden for a repository of another server, ForgeInvalid for what is no address of one."""
        if not self.serves(address):
            raise ForgeForbidden(f"there are no credentials for {address!r}, only for {self._origin}")
        owner, _, name = URL(address.strip()).path.strip("/").partition("/")
        name = name.removesuffix(".git")
        if not all(_NAME.fullmatch(part) and part.strip(".") for part in (owner, name)):
            raise ForgeInvalid(f"{address!r} is not the address of a repository: {self._origin}/OWNER/REPOSITORY")
        return Repository(owner, name)

    def url(self, path: str) -> URL:
        """Where ``path``, which is quoted already, is asked for."""
        return URL(str(self.api).rstrip("/") + path, encoded=True)

    def is_api(self, url: URL) -> bool:
        """Whether credentials may be sent there."""
        if not url.host or url.scheme not in ("http", "https"):
            return False
        return url.origin() == self.api.origin() and url.raw_path.startswith(self.api.raw_path.rstrip("/") + "/")

    def is_renamed(self, url: URL) -> bool:
        """Whether it is a repository under the id that outlives its names."""
        return self.is_api(url) and bool(_RENAMED.match(url.raw_path.removeprefix(self.api.raw_path.rstrip("/"))))


def segment(name: str) -> str:
    """``name`` as one segment of a path. Raises ForgeInvalid when none can carry it."""
    if not name.strip("."):  # a server, or a proxy, would take "." and ".." for steps
        raise ForgeInvalid(f"{name!r} cannot be asked for")
    return quote(name, safe="")


def _origin(address: str) -> URL | None:
    """Scheme, host and port, in lower case; None where there is more than belongs there, or less."""
    try:
        url = URL(address.strip())
        if url.scheme not in ("http", "https") or not url.host or url.user is not None or url.password is not None:
            return None
        return None if url.query_string or url.fragment else url.origin()
    except ValueError:
        return None


def _api(origin: URL) -> URL:
    host = origin.host or ""
    if host == "github.com" or host.endswith(".ghe.com"):
        return origin.with_host(f"api.{host}").with_path("/")
    return origin.with_path("/api/v3")
