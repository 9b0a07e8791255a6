"""The commands against a cluster: what a person reads, and the exit codes that scripts go by."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from pathlib import Path

import pytest
from tests.cli.terminal import NAME_SPACE, made, terminal

from greenroom.app.manifests import load
from greenroom.model.manifest import CONFIG_MAP, Manifest, Ref, labels_of, text

DEADLINE = 20.0


async def lines_until(process: Process, *words: str) -> list[str]:
    """What it prints up to the line that has all of the words."""
    assert process.stdout is not None
    lines: list[str] = []
    while not (lines and all(word in lines[-1] for word in words)):
        line = await asyncio.wait_for(process.stdout.readline(), DEADLINE)
        assert line, f"it ended after {lines}"
        lines.append(line.decode())
    return lines


async def ended(process: Process) -> tuple[int, str]:
    """Exit code and error output."""
    _, errors = await asyncio.wait_for(process.communicate(), DEADLINE)
    return process.returncode or 0, errors.decode()


# get -w


async def test_a_watch_shows_what_there_is_and_then_every_change(tmp_path: Path) -> None:
    async with terminal(tmp_path) as person:
        await person.store.apply(made("one"), manager="test")
        process = await person.start("get", "cm", "-w")
        assert [line.split()[0] for line in await lines_until(process, "one")] == ["NAME", "one"]
        await person.store.apply(made("two"), manager="test")
        await lines_until(process, "two")
        await person.store.delete(Ref(CONFIG_MAP, NAME_SPACE, "one"))
        await lines_until(process, "one")
        process.terminate()
        await ended(process)


async def test_a_watch_of_one_object_leaves_out_the_others(tmp_path: Path) -> None:
    async with terminal(tmp_path) as person:
        for name in ("one", "other"):
            await person.store.apply(made(name), manager="test")
        process = await person.start("get", "cm/one", "-w", "-o", "name")
        await lines_until(process, "one")
        for name in ("other", "one"):
            await person.store.apply(made(name, data={"key": "value"}), manager="test")
        assert await lines_until(process, "configmap") == ["configmap/one\n"]
        process.terminate()
        await ended(process)


async def test_the_documents_of_a_watch_can_be_told_apart(tmp_path: Path) -> None:
    async with terminal(tmp_path) as person:
        await person.store.apply(made("one", data={"key": "before"}), manager="test")
        process = await person.start("get", "cm/one", "-w", "-o", "yaml")
        first = await lines_until(process, "uid:")
        await person.store.apply(made("one", data={"key": "after"}), manager="test")
        second = await lines_until(process, "key: after")
        process.terminate()
        await ended(process)
    file = tmp_path / "watched.yaml"
    file.write_text("".join(first + second))
    assert [text(document.manifest, "kind") for document in load([str(file)])] == ["ConfigMap", "ConfigMap"]


async def test_a_watch_that_falls_behind_shows_how_things_are_now(tmp_path: Path) -> None:
    """More happens at once than the server keeps for those who watch."""
    async with terminal(tmp_path) as person:
        process = await person.start("get", "cm", "-w")
        await person.store.apply(made("first"), manager="test")
        await lines_until(process, "first")
        for number in range(100):
            await person.store.apply(made("busy", data={"number": str(number)}), manager="test")
        await person.store.apply(made("last"), manager="test")
        await lines_until(process, "last")
        process.terminate()
        await ended(process)


@pytest.mark.parametrize("words", [("get", "cm", "-w"), ("get", "all", "-w"), ("logs", "one", "-f")])
async def test_when_greenroom_stops_whoever_follows_it_is_told_in_one_line(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    async with terminal(tmp_path) as person:
        await person.store.apply(made("one"), manager="test")
        pod = made("one", kind="Pod", spec={"containers": [{"name": "app", "image": "shop:1"}]})
        await person.store.apply(pod, manager="test")
        process = await person.start(*words)
        await lines_until(process, "one")
    code, errors = await ended(process)
    if words[0] == "get":
        assert code == 1
        assert len(errors.splitlines()) == 1
        assert "greenroom up" in errors
    else:  # the log ended
        assert (code, errors) == (0, "")


async def test_a_reader_that_has_seen_enough_gets_no_complaint(tmp_path: Path) -> None:
    async with terminal(tmp_path) as person:
        await person.store.apply(made("one"), manager="test")
        process = await person.start("get", "cm", "-w")
        await lines_until(process, "one")
        assert process.stdout is not None
        process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined] # as `| head -2` does
        await person.store.apply(made("two"), manager="test")
        await asyncio.wait_for(process.wait(), DEADLINE)
        assert process.stderr is not None
        assert await process.stderr.read() == b""


# get


async def test_nothing_there_is_said_apart_from_the_output(tmp_path: Path) -> None:
    async with terminal(tmp_path) as person:
        assert await person.run("get", "cm") == (0, "", f"No configmaps found in namespace {NAME_SPACE}.\n")
        assert await person.run("get", "cm", "-A") == (0, "", "No configmaps found.\n")
        assert await person.run("describe", "cm") == (0, "", f"No configmaps found in namespace {NAME_SPACE}.\n")


async def test_names_and_selectors_do_not_go_together(tmp_path: Path) -> None:
    async with terminal(tmp_path) as person:
        await person.store.apply(made("one"), manager="test")
        code, output, errors = await person.run("get", "cm", "one", "-l", "app=web")
        assert (code, output) == (2, "")
        assert "-l and -A" in errors


async def test_a_secret_is_described_by_its_length(tmp_path: Path) -> None:
    async with terminal(tmp_path) as person:
        await person.store.apply(made("key", kind="Secret", data={"password": "aHVudGVyMg=="}), manager="test")
        code, output, _ = await person.run("describe", "secret/key")
        assert code == 0
        assert "password: 12 characters" in output
        assert "aHVudGVyMg" not in output


# delete


async def test_deleting_waits_for_this_object_not_for_one_that_took_its_place(tmp_path: Path) -> None:
    async with terminal(tmp_path) as person:
        ref = Ref(CONFIG_MAP, NAME_SPACE, "one")
        await person.store.apply(made("one"), manager="test")

        async def make_again() -> None:
            version = (await person.store.list(CONFIG_MAP)).resource_version
            async for _ in person.store.watch(CONFIG_MAP, since=version):
                await person.store.apply(made("one"), manager="test")
                return

        maker = asyncio.create_task(make_again())
        assert await person.run("delete", "cm/one", "--timeout", "5") == (0, 'configmap "one" deleted\n', "")
        await maker
        assert await person.store.get(ref)


async def test_one_that_cannot_be_deleted_does_not_keep_the_others_back(tmp_path: Path) -> None:
    async with terminal(tmp_path) as person:
        await person.store.apply(made("two"), manager="test")
        code, output, errors = await person.run("delete", "cm", "one", "two")
        assert (code, output) == (1, 'configmap "two" deleted\n')
        assert "configmap/one" in errors
        assert (await person.store.list(CONFIG_MAP)).items == []
        assert await person.run("delete", "cm", "one", "--ignore-not-found") == (0, "", "")


async def test_what_is_held_by_a_finalizer_is_not_waited_for_without_end(tmp_path: Path) -> None:
    async with terminal(tmp_path) as person:
        held = made("one")
        metadata = {"name": "one", "namespace": NAME_SPACE, "finalizers": ["example.com/hold"]}
        await person.store.apply({**held, "metadata": metadata}, manager="test")
        code, _, errors = await person.run("delete", "cm/one", "--timeout", "0.2")
        assert code == 1
        assert "still being deleted after 0.2 s" in errors
        assert "get configmap/one -o yaml" in errors


# apply


async def test_applying_says_what_came_of_each_object_and_goes_on_after_a_bad_one(tmp_path: Path) -> None:
    documents = """
apiVersion: v1
kind: ConfigMap
metadata: {name: one, labels: {app: web}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: Bad_Name}
---
apiVersion: v1
kind: Namespace
metadata: {name: another, namespace: is-dropped}
"""
    async with terminal(tmp_path) as person:
        code, output, errors = await person.run("apply", "-f", "-", stdin=documents)
        assert code == 1
        assert output == "configmap/one created\nnamespace/another created\n"
        assert "standard input:6: configmap/bad_name:" in errors
        _, output, _ = await person.run("apply", "-f", "-", stdin=documents)
        assert output == "configmap/one unchanged\nnamespace/another unchanged\n"
        applied: Manifest = await person.store.get(Ref(CONFIG_MAP, NAME_SPACE, "one"))
        assert labels_of(applied) == {"app": "web"}


# finding the cluster


async def test_without_a_greenroom_the_cure_is_named(tmp_path: Path) -> None:
    async with terminal(tmp_path) as person:
        pass
    code, _, errors = await person.run("get", "prs")
    assert code == 1
    assert "greenroom up" in errors
    person.state.kubeconfig.unlink()
    code, _, errors = await person.run("get", "prs")
    assert code == 1
    assert "no Greenroom has been started here" in errors


@pytest.mark.parametrize(
    ("typed", "offered"), [(("get", "configm"), "configmaps"), (("get", "cm", "o"), "one"), (("get", "cm/"), "cm/one")]
)
async def test_words_are_completed_with_kinds_and_names(tmp_path: Path, typed: tuple[str, ...], offered: str) -> None:
    async with terminal(tmp_path) as person:
        await person.store.apply(made("one"), manager="test")
        words = {"COMP_WORDS": " ".join(("greenroom", *typed)), "COMP_CWORD": str(len(typed))}
        told = await person.run(_GREENROOM_COMPLETE="bash_complete", **words)
        assert told == (0, f"plain,{offered}\n", "")
