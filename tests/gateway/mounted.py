"""A volume of certificates, as the pod of a gateway has it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from greenroom.core.bootstrap import sds_files
from greenroom.core.certificates import CERTIFICATE, KEY, TRUST, Pair


class Mounted:
    """A folder of certificates as the kubelet mounts it: all files are replaced at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._turn = 0
        folder.mkdir()

    def put(self, pair: Pair, trust: bytes) -> None:
        self._turn += 1
        turn = self.folder / f"..{self._turn}"
        turn.mkdir()
        files = {name: msgspec.json.encode(file) for name, file in sds_files(str(self.folder)).items()}
        files |= {CERTIFICATE: pair.certificate, KEY: pair.key, TRUST: trust}
        for name, content in files.items():
            (turn / name).write_bytes(content)
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        (self.folder / "..new").symlink_to(turn.name)
        (self.folder / "..new").rename(self.folder / "..data")
