"""Golden files: what a translation makes, whole, in YAML to be read. ``pytest --rewrite-golden`` writes them anew."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import yaml


class _Dumper(yaml.SafeDumper):
    """Without anchors: every place can be read where it stands."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def expected(file: Path, value: object, *, rewrite: bool) -> tuple[str, str]:
    """What ``value`` looks like, and what the file says; written first if it is to be rewritten."""
    shown = yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
    if rewrite:
        file.parent.mkdir(exist_ok=True)
        file.write_text(shown)
    return shown, file.read_text()


def orphans(folder: Path, cases: Collection[str], *, rewrite: bool) -> set[Path]:
    """Files that no case writes any more; none are left if they are to be rewritten."""
    found = {file for file in folder.glob("*.yaml") if file.stem not in cases}
    if rewrite:
        for orphan in found:
            orphan.unlink()
        found.clear()
    return found
