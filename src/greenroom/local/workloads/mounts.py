"""Volumes of a pod as folders of this machine.

A process of this machine has no file system of its own, so ``mountPath: /etc/app`` cannot appear at ``/etc/app``. The
container finds it below the folder named by its variable ``GREENROOM_MOUNTS``: ``$GREENROOM_MOUNTS/etc/app``. It is a
link to the volume, which the containers of the pod share. ConfigMaps and Secrets are written when a container starts;
a later change reaches it with its next start. Volumes other than ``configMap``, ``secret`` and ``emptyDir`` are refused
by name.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from greenroom.local.workloads.environment import ConfigError, Lookup, data_of
from greenroom.model.manifest import CONFIG_MAP, SECRET, Json, Manifest, get, items, table, text

MOUNTS = "GREENROOM_MOUNTS"

_NAME = re.compile(r"[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?")


def mount(pod: Manifest, container: Json, folder: Path, lookup: Lookup) -> dict[str, str]:
    """Make the container's mounts below ``folder``, the pod's own; answers the variables that tell where.

    Raises ConfigError for what is missing, unsupported or leads out of the folder.
    """
    wanted = items(container, "volumeMounts")
    if not wanted:
        return {}
    root = folder / "mounts" / checked_name(text(container, "name"))
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True, mode=0o700)
    for entry in sorted(wanted, key=lambda entry: text(entry, "mountPath")):
        volume = _volume(pod, text(entry, "name"), folder, lookup)
        place = _inside(root, text(entry, "mountPath").lstrip("/"))
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_symlink():  # a mount inside another volume, made by an earlier start
            place.unlink()
        place.symlink_to(_inside(volume, text(entry, "subPath")))
    return {MOUNTS: str(root)}


def checked_name(name: str) -> str:
    """``name`` when it can be a file name. Raises ConfigError."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f'"{name}" is not a valid name')
    return name


def _volume(pod: Manifest, name: str, folder: Path, lookup: Lookup) -> Path:
    """The folder of a volume, with what belongs in it now."""
    volume = next((volume for volume in items(pod, "spec", "volumes") if text(volume, "name") == name), None)
    if volume is None:
        raise ConfigError(f'volumeMount "{name}" names no volume of the pod')
    path = folder / "volumes" / checked_name(name)
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    for file, content in _files(pod, volume, lookup).items():
        target = _inside(path, file)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # a file that the process made read-only is replaced too
        target.touch(mode=0o600)
        target.write_bytes(content)
    return path


def _files(pod: Manifest, volume: Json, lookup: Lookup) -> Mapping[str, bytes]:
    for field, kind, name in (("configMap", CONFIG_MAP, "name"), ("secret", SECRET, "secretName")):
        source = get(volume, field)
        if source is not None:
            data = data_of(pod, kind, text(source, name), lookup, optional=get(source, "optional") is True)
            return _chosen(source, data, f'{kind.name} "{text(source, name)}"')
    if get(volume, "emptyDir") is not None:
        return {}
    given = ", ".join(key for key in table(volume) if key != "name") or "nothing"
    raise ConfigError(f'volume "{text(volume, "name")}": one machine has no volumes of kind {given}')


def _chosen(source: Json, data: Mapping[str, bytes], what: str) -> Mapping[str, bytes]:
    """The keys that ``items`` asks for, under the paths it gives; without it all keys under their names."""
    wanted = items(source, "items")
    if not wanted:
        return data
    chosen = {}
    for entry in wanted:
        key = text(entry, "key")
        if key in data:
            chosen[text(entry, "path") or key] = data[key]
        elif get(source, "optional") is not True:
            raise ConfigError(f'couldn\'t find key "{key}" in {what}')
    return chosen


def _inside(folder: Path, path: str) -> Path:
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts:
        raise ConfigError(f'the path "{path}" leads out of its volume')
    return folder / relative
