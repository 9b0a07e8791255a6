"""The SQLite file that keeps the objects. It is read once, when it is opened, and written through from then on.

WAL with ``synchronous=NORMAL``: what was acknowledged survives the death of the process (kill -9). After a power cut
the file is consistent, but the last transactions may be missing.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from greenroom.local.storage.apply import owners_from
from greenroom.local.storage.objects import Entry
from greenroom.model.errors import GreenroomError, Unavailable
from greenroom.model.manifest import Kind, Ref, ref_of, uid_of

SCHEMA = 1
"""The version of the tables below. A newer Greenroom's database is refused, not guessed at."""

_APPLICATION = 0x47524E52  # "GRNR": another program's database is not taken for ours
_SMALLEST_BYTES = 128 * 1024
"""What a database without objects needs, with the files beside it."""
_BUSY_SECONDS = 0.5  # the event loop waits meanwhile: only a person with a SQLite shell can hold the lock

_TABLES = """
    BEGIN IMMEDIATE;
    CREATE TABLE objects (
        api_version TEXT NOT NULL,
        kind TEXT NOT NULL,
        namespace TEXT NOT NULL,
        name TEXT NOT NULL,
        object BLOB NOT NULL,
        owners BLOB NOT NULL,
        PRIMARY KEY (api_version, kind, namespace, name)
    );
    CREATE TABLE counter (resource_version INTEGER NOT NULL);
    INSERT INTO counter VALUES (0);
"""
_MARKS = f"PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {SCHEMA}; COMMIT;"
_PUT = """
    INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET object = excluded.object, owners = excluded.owners
"""
_DELETE = "DELETE FROM objects WHERE (api_version, kind, namespace, name) = (?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Saved:
    """What a database holds: the last resource version given, and the objects."""

    version: int
    entries: Mapping[Ref, Entry]


class Database:
    """An open database. Only one process may have it open for writing (``storage.statelock``)."""

    def __init__(self, path: Path) -> None:
        """Open or create it. Raises GreenroomError when the file is damaged, foreign, of a newer Greenroom, or full."""
        self._path = path
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # it will hold Secrets
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_SECONDS)
        except OSError as error:
            raise GreenroomError(f"{path}: cannot be opened: {error.strerror}") from error
        try:
            self._prepare()
        except sqlite3.Error as error:
            self.close()
            raise GreenroomError(self._explain(error)) from error
        except GreenroomError:
            self.close()
            raise

    def load(self) -> Saved:
        """Raises GreenroomError when the content is damaged."""
        try:
            version: int = self._value("SELECT resource_version FROM counter")
            rows = self._connection.execute("SELECT * FROM objects").fetchall()
            return Saved(version, dict(_decode(*row) for row in rows))
        except (msgspec.DecodeError, TypeError, ValueError) as error:
            raise GreenroomError(self._damaged(str(error))) from error
        except sqlite3.Error as error:
            raise GreenroomError(self._explain(error)) from error

    def write(self, version: int, changes: Mapping[Ref, Entry | None]) -> None:
        """Store all of it or nothing; None removes. Raises Unavailable, naming the cure, when that cannot be."""
        execute = self._connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            execute("UPDATE counter SET resource_version = ?", (version,))
            for ref, entry in changes.items():
                if entry is None:
                    execute(_DELETE, _key(ref))
                else:
                    execute(_PUT, (*_key(ref), msgspec.json.encode(entry.object), msgspec.json.encode(entry.owners)))
            execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(
                sqlite3.Error
            ):  # there is nothing to roll back after those errors where SQLite does so itself
                execute("ROLLBACK")
            raise Unavailable(self._explain(error)) from error

    def close(self) -> None:
        self._connection.close()

    def _prepare(self) -> None:
        damage = self._value("PRAGMA quick_check(1)")
        if damage != "ok":
            raise GreenroomError(self._damaged(damage))
        application, schema = self._value("PRAGMA application_id"), self._value("PRAGMA user_version")
        if application != _APPLICATION and self._value("SELECT count(*) FROM sqlite_schema"):
            raise GreenroomError(f"{self._path} is not a database of Greenroom: choose another folder with --state")
        if schema > SCHEMA:
            raise GreenroomError(
                f"{self._path} was written by a newer Greenroom (schema {schema}, this one knows {SCHEMA}): "
                "use that one, or choose another folder with --state"
            )
        self._value("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        if application != _APPLICATION:
            self._connection.executescript(_TABLES + _MARKS)

    def _value(self, query: str) -> Any:
        (value,) = self._connection.execute(query).fetchone()
        return value

    def _explain(self, error: sqlite3.Error) -> str:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte: extended codes say where it happened
        if code == sqlite3.SQLITE_IOERR and _is_full(self._path.parent):  # as it says for the files beside the database
            code = sqlite3.SQLITE_FULL
        match code:
            case sqlite3.SQLITE_FULL:
                return f"disk full: free space in {self._path.parent}"
            case sqlite3.SQLITE_READONLY:
                return f"{self._path} is read-only: make it and its folder writable"
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return f"{self._path} is locked by another program: close that one"
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_ERROR:
                return self._damaged(str(error))
            case _:
                return f"{self._path}: {error}: check the disk, and the rights of the folder"

    def _damaged(self, detail: str) -> str:
        return (
            f"{self._path} is damaged ({detail}): put back a copy of it, or start anew by moving it away "
            f"together with {self._path.name}-wal and {self._path.name}-shm, if they exist"
        )


def _is_full(folder: Path) -> bool:
    return shutil.disk_usage(folder).free < _SMALLEST_BYTES


def _key(ref: Ref) -> tuple[str, str, str, str]:
    return ref.kind.api_version, ref.kind.name, ref.namespace, ref.name


def _decode(
    api_version: str, kind: str, namespace: str, name: str, manifest: bytes, owners: bytes
) -> tuple[Ref, Entry]:
    """Raises ValueError when the object is not the one that its row is for."""
    ref = Ref(Kind.of(api_version, kind), namespace, name)
    decoded = msgspec.json.decode(manifest, type=dict[str, Any])
    if ref_of(decoded) != ref or not uid_of(decoded):
        raise ValueError(f"the row of {ref} holds something else")
    return ref, Entry(decoded, owners_from(msgspec.json.decode(owners)))
