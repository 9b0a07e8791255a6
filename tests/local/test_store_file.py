"""The store's file: killed, full, damaged, foreign, newer, taken. Nothing acknowledged is lost or half done."""

from __future__ import annotations

import itertools
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from greenroom.local.storage.store import Store
from greenroom.model.errors import Conflict, GreenroomError, NotFound, Unavailable
from greenroom.model.manifest import CONFIG_MAP, Json, Ref, get, name_of, owner_reference, ref_of, text

MANAGER = "test"

PROJECT = Path(__file__).parents[2]


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


def config_map(name: str, *, owner: Json = None, **data: str) -> dict[str, Json]:
    metadata: dict[str, Json] = {"name": name, "namespace": "default"}
    if owner is not None:
        metadata["ownerReferences"] = [owner]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def open_store(folder: Path) -> Store:
    return Store.open(folder / "cluster.db", clock=WallClock())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A state folder with a store of one object in it."""
    return tmp_path / "state"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with closing(open_store(folder)) as store:
        yield store


async def test_objects_versions_and_field_owners_survive_a_restart(folder: Path) -> None:
    with closing(open_store(folder)) as store:
        await store.apply(config_map("settings", color="green"), manager="one")
        await store.apply(config_map("settings", size="l"), manager="two")
        before = await store.list(CONFIG_MAP)
    with closing(open_store(folder)) as store:
        assert await store.list(CONFIG_MAP) == before
        with pytest.raises(Conflict):
            await store.apply(config_map("settings", color="red"), manager="two", force=False)
        updated = await store.apply(config_map("settings"), manager="one")
        assert get(updated, "data") == {"size": "l"}
        assert int(text(updated, "metadata", "resourceVersion")) > int(before.resource_version)


async def test_versions_do_not_go_back_after_the_newest_object_was_deleted(folder: Path) -> None:
    with closing(open_store(folder)) as store:
        await store.delete(ref_of(await store.apply(config_map("brief"), manager=MANAGER)))
        before = (await store.list(CONFIG_MAP)).resource_version
    with closing(open_store(folder)) as store:
        assert (await store.list(CONFIG_MAP)).resource_version == before


async def write_storm(folder: Path) -> None:
    """Write without end, printing the number of each round when all of it was acknowledged."""
    store = open_store(folder)
    for number in itertools.count(1):
        owner = await store.apply(config_map(f"owner-{number}"), manager=MANAGER)
        await store.apply(config_map(f"child-{number}", owner=owner_reference(owner)), manager=MANAGER)
        await store.apply(config_map("counter", number=str(number)), manager=MANAGER)
        if number % 2:
            await store.delete(ref_of(owner))
        print(number, flush=True)  # noqa: T201 — to the test


def kill_in_the_storm(folder: Path) -> int:
    """The last round that was acknowledged by a process that was killed while it wrote."""
    program = "import asyncio, pathlib, sys; from tests.local.test_store_file import write_storm as storm; "
    command = [sys.executable, "-c", program + "asyncio.run(storm(pathlib.Path(sys.argv[1])))", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT) as child:
        assert child.stdout is not None
        try:
            rounds = [child.stdout.readline() for _ in range(200)]
        finally:
            child.kill()
        rounds += [line for line in child.stdout if line.endswith("\n")]
    return int(rounds[-1])


async def test_killed_in_a_storm_of_writes_it_has_all_that_it_acknowledged(folder: Path) -> None:
    last = kill_in_the_storm(folder)
    with closing(open_store(folder)) as store:
        found = {name_of(manifest): manifest for manifest in (await store.list(CONFIG_MAP)).items}
        counter = int(text(found.pop("counter"), "data", "number"))
        assert last <= counter <= last + 1
        kept = {f"{kind}-{number}" for kind in ("owner", "child") for number in range(2, last + 1, 2)}
        unfinished = {f"{kind}-{last + 1}" for kind in ("owner", "child")}
        assert kept <= found.keys() <= kept | unfinished
        assert await store.apply(config_map("more"), manager=MANAGER)


async def test_a_full_disk_is_said_and_changes_nothing(store: Store, folder: Path) -> None:
    owner = await store.apply(config_map("owner", small="x"), manager=MANAGER)
    child = await store.apply(config_map("child", owner=owner_reference(owner)), manager=MANAGER)
    before = await store.list(CONFIG_MAP)
    (pages,) = store._database._connection.execute("PRAGMA page_count").fetchone()
    store._database._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Unavailable, match=f"disk full: free space in {folder}"):
        await store.apply(config_map("owner", large="x" * 1_000_000), manager=MANAGER)
    with pytest.raises(Unavailable):
        await store.apply(config_map("new", large="x" * 1_000_000), manager=MANAGER)
    assert await store.list(CONFIG_MAP) == before
    with pytest.raises(NotFound):
        await store.get(Ref(CONFIG_MAP, "default", "new"))

    store._database._connection.execute("PRAGMA max_page_count = 100000")
    grown = await store.apply(config_map("owner", large="x" * 1_000_000), manager=MANAGER)
    assert int(text(grown, "metadata", "resourceVersion")) == int(before.resource_version) + 1
    await store.delete(ref_of(grown))
    with pytest.raises(NotFound):
        await store.get(ref_of(child))


async def test_a_deletion_that_cannot_be_written_leaves_everything_that_would_have_gone(store: Store) -> None:
    owner = await store.apply(config_map("owner"), manager=MANAGER)
    await store.apply(config_map("child", owner=owner_reference(owner)), manager=MANAGER)
    before = await store.list(CONFIG_MAP)
    store._database._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(Unavailable, match="read-only"):
        await store.delete(ref_of(owner))
    assert await store.list(CONFIG_MAP) == before
    store._database._connection.execute("PRAGMA query_only = OFF")
    await store.delete(ref_of(owner))
    assert not (await store.list(CONFIG_MAP)).items


async def test_a_file_that_another_program_has_locked_is_said(store: Store, folder: Path) -> None:
    with closing(sqlite3.connect(folder / "cluster.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked by another program"):
            await store.apply(config_map("settings"), manager=MANAGER)
    assert await store.apply(config_map("settings"), manager=MANAGER)


async def filled(folder: Path) -> Path:
    """The file of a store that was in use and closed."""
    with closing(open_store(folder)) as store:
        for number in range(50):
            await store.apply(config_map(f"settings-{number}", text="x" * 500), manager=MANAGER)
    return folder / "cluster.db"


def refused(folder: Path) -> str:
    """What opening says; it must leave the folder to the next who tries."""
    with pytest.raises(GreenroomError) as first:
        open_store(folder)
    with pytest.raises(GreenroomError) as second:
        open_store(folder)
    assert str(first.value) == str(second.value)
    return str(first.value)


async def test_a_half_written_file_is_refused_with_the_cure_and_left_alone(folder: Path) -> None:
    path = await filled(folder)
    half = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(half)
    message = refused(folder)
    assert f"{path} is damaged" in message
    assert "put back a copy of it, or start anew by moving it away" in message
    assert path.read_bytes() == half


async def test_one_page_gone_bad_is_found_before_it_is_needed(folder: Path) -> None:
    path = await filled(folder)
    with closing(sqlite3.connect(path)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE type = 'index'").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(bytes(size))
    assert f"{path} is damaged" in refused(folder)


async def test_a_file_of_noise_is_refused(folder: Path) -> None:
    path = await filled(folder)
    path.write_bytes(b"noise" * 1000)
    assert f"{path} is damaged" in refused(folder)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE objects SET object = '{half'",
        "UPDATE objects SET owners = '{half'",
        "UPDATE objects SET object = 7",
        "UPDATE objects SET object = '{}'",
        "DELETE FROM counter",
        "DROP TABLE objects",
    ],
)
async def test_content_that_makes_no_sense_is_refused(folder: Path, damage: str) -> None:
    path = await filled(folder)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(damage)
    assert f"{path} is damaged" in refused(folder)


async def test_a_file_of_a_newer_greenroom_is_refused(folder: Path) -> None:
    path = await filled(folder)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    assert "was written by a newer Greenroom (schema 99" in refused(folder)


async def test_the_database_of_another_program_is_not_touched(folder: Path) -> None:
    folder.mkdir()
    with closing(sqlite3.connect(folder / "cluster.db")) as connection, connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    assert "is not a database of Greenroom" in refused(folder)


async def test_an_empty_file_is_a_new_store(folder: Path) -> None:
    folder.mkdir()
    (folder / "cluster.db").touch()
    with closing(open_store(folder)) as store:
        assert await store.apply(config_map("settings"), manager=MANAGER)


async def test_a_second_opener_is_told_who_has_it(store: Store, folder: Path) -> None:
    assert f"{folder} is in use by another Greenroom (process {os.getpid()})" in refused(folder)
    assert await store.apply(config_map("settings"), manager=MANAGER)


async def test_a_state_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be used as state folder" in refused(tmp_path / "file" / "state")


async def test_nobody_else_can_read_the_secrets_in_it(store: Store, folder: Path) -> None:
    await store.apply(config_map("settings"), manager=MANAGER)
    assert {path.name: path.stat().st_mode & 0o077 for path in folder.iterdir()} == {
        "cluster.db": 0,
        "cluster.db-shm": 0,
        "cluster.db-wal": 0,
        "lock": 0,
    }
    assert folder.stat().st_mode & 0o077 == 0


async def test_a_closed_store_writes_no_more(folder: Path) -> None:
    store = open_store(folder)
    store.close()
    with pytest.raises(Unavailable):
        await store.apply(config_map("settings"), manager=MANAGER)
