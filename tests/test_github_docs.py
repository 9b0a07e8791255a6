"""docs/github.md: it tells of every command, event and option there is, and its examples are good."""

from __future__ import annotations

import re
from pathlib import Path

from greenroom.cli import greenroom
from greenroom.core.asking import USAGE, WORDS
from greenroom.core.payloads import EVENTS, IMAGE_EVENT
from greenroom.model.pull import Build

TEXT = (Path(__file__).parents[1] / "docs" / "github.md").read_text()


def test_every_command_is_there_and_no_other() -> None:
    told = set(re.findall(r"^\| `(/preview[^`]*)` \|", TEXT, re.MULTILINE))
    assert told == {command for command, _ in USAGE}
    assert {command.split()[1] if " " in command else "" for command in told} == set(WORDS)


def test_every_event_that_is_read_is_to_be_ticked() -> None:
    ticked = re.findall(r"^\| \*(.+?)\*", TEXT, re.MULTILINE)
    events = {each.lower().replace(" ", "_").removesuffix("s") for each in ticked}
    assert {"repository" if each == "repositorie" else each for each in events} == EVENTS.keys() - {IMAGE_EVENT}


def test_the_signed_call_is_understood() -> None:
    [payload] = re.findall(r"^```json\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    assert isinstance(EVENTS[IMAGE_EVENT](payload.encode()), Build)


def test_the_options_are_those_of_the_commands() -> None:
    options = {name for command in ("serve", "up") for each in greenroom.commands[command].params for name in each.opts}
    assert set(re.findall(r"--(?:github|webhook|visit)[a-z-]*", TEXT)) <= options
