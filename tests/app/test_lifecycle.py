"""A Greenroom starts as a whole and ends as a whole."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
from tests.e2e.shop import eventually, shop_in

from greenroom.app.lifecycle import background, ended_by
from greenroom.app.logs import log_to
from greenroom.local import instance
from greenroom.model.errors import GreenroomError, InvalidInput

Run = Callable[[], Coroutine[None, None, None]]


async def for_ever() -> None:
    await asyncio.Event().wait()


async def crashing() -> None:
    raise ValueError("no such luck")


async def returning() -> None:
    return


async def cancelled_from_elsewhere() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("dying", "told"),
    [
        (crashing, "crashing ended unexpectedly: ValueError: no such luck"),
        (returning, "returning ended unexpectedly;"),
        (cancelled_from_elsewhere, "cancelled_from_elsewhere ended unexpectedly;"),
    ],
)
async def test_a_part_that_ends_ends_the_whole_and_says_which(tmp_path: Path, dying: Run, told: str) -> None:
    others_ended = asyncio.Event()

    async def other() -> None:
        try:
            await for_ever()
        finally:
            others_ended.set()

    with log_to(tmp_path / "log"), pytest.raises(GreenroomError, match=told):
        async with background(other, dying):
            await for_ever()
    assert others_ended.is_set()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    line = json.loads((tmp_path / "log").read_text())
    assert line["part"] == dying.__name__
    assert ("no such luck" in line.get("exception", "")) is (dying is crashing)


async def test_an_error_of_the_block_is_told_as_it_is() -> None:
    with pytest.raises(InvalidInput, match="wrong"):
        async with background(for_ever):
            raise InvalidInput("wrong")
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_who_is_cancelled_while_its_parts_run_is_cancelled() -> None:
    async def whole() -> None:
        async with background(for_ever):
            await for_ever()

    task = asyncio.create_task(whole())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_second_signal_does_not_cut_the_ending_short() -> None:
    began, ending, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
    steps: list[str] = []

    async def work() -> None:
        with ended_by(signal.SIGTERM, signal.SIGHUP):
            try:
                began.set()
                await for_ever()
            finally:
                ending.set()
                await go_on.wait()
                steps.append("ended in order")

    task = asyncio.create_task(work())
    await began.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    await ending.wait()
    os.kill(os.getpid(), signal.SIGHUP)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps == ["ended in order"]


async def test_sigterm_ends_every_process_and_leaves_the_state(tmp_path: Path) -> None:
    serving = asyncio.Event()

    async def up() -> None:
        async with shop_in(tmp_path) as shop:
            pull = await shop.forge.open("blue-title")
            await shop.until_shown(1, pull.head)
            serving.set()
            await for_ever()

    task = asyncio.create_task(up())
    await asyncio.wait({task, waiting := asyncio.create_task(serving.wait())}, return_when=asyncio.FIRST_COMPLETED)
    assert waiting.done(), task
    marks = {instance.INSTANCE: instance.instance_id(tmp_path / "state")}
    assert len(instance.marked(marks)) >= 2, "the application and Envoy"
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert instance.marked(marks) == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
    async with shop_in(tmp_path) as shop:
        assert [pull.branch for pull in shop.forge.pulls()] == ["blue-title"]

        async def known() -> bool:
            return bool(shop.pr(1))

        await eventually(known)
