"""Settings of a Greenroom on one machine, and the layout of its state folder."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

import msgspec

from greenroom.app.forging import ForgeSettings
from greenroom.local.files import write_private
from greenroom.model.errors import GreenroomError, InvalidInput

STATE_FOLDER = ".greenroom"
DEMO_FOLDER = ".greenroom-demo"
USER_MANAGER = "greenroom-cli"
"""The field manager of what a person applies, with `up -f` as with `apply -f`."""


class Running(msgspec.Struct, frozen=True):
    """What a running Greenroom tells the other commands, in ``running.json``. One that was killed leaves it behind."""

    webhook: str
    """URL that takes the forge's webhooks."""
    repository: str
    """Path of the git repository whose commits are run."""


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Where everything of one Greenroom lives; deleting the folder (when it is not running) forgets it all."""

    root: Path

    @property
    def database(self) -> Path:
        return self.root / "cluster.db"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def pulls(self) -> Path:
        """The pull requests of the local forge (``greenroom pr``)."""
        return self.root / "pulls.json"

    @property
    def log(self) -> Path:
        return self.root / "greenroom.log"

    def create(self) -> None:
        """Make the folder, for the owner only. Raises InvalidInput when that cannot be."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.root / ".gitignore").write_text("*\n", encoding="utf-8")
        except OSError as error:
            raise InvalidInput(
                f"cannot be used as state folder: {error.strerror}",
                source=str(self.root),
                cure="choose another --state",
            ) from error

    def webhook_secret(self) -> bytes:
        """The secret that signs webhooks here; made once."""
        return self._once("webhook-secret", secrets.token_hex(32)).encode()

    def api_token(self) -> str:
        return self._once("api-token", secrets.token_hex(32))

    def _once(self, name: str, value: str) -> str:
        """The content of a small private file, which is written whole or not at all."""
        path = self.root / name
        if not path.exists():
            write_private(path, value)
        try:
            found = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise GreenroomError(f"{path} cannot be read ({error}): delete it, and a new one is made") from error
        if not found:
            raise GreenroomError(f"{path} is empty: delete it, and a new one is made")
        return found

    def say_running(self, running: Running) -> None:
        write_private(self.root / "running.json", msgspec.json.encode(running).decode())

    def say_stopped(self) -> None:
        (self.root / "running.json").unlink(missing_ok=True)

    def running(self) -> Running | None:
        """What a Greenroom that serves said of itself; None before it serves, and when it was stopped."""
        try:
            return msgspec.json.decode((self.root / "running.json").read_bytes(), type=Running)
        except (OSError, msgspec.DecodeError):
            return None


@dataclass(frozen=True, slots=True)
class OneMachineSettings:
    """What ``greenroom up`` was asked for. Ports are of 127.0.0.1; the webhook's may be 0: the system chooses."""

    state: StateFolder
    repository: Path
    namespace: str
    gateway_port: int = 8080
    webhook_port: int = 3000
    forge: ForgeSettings | None = None
