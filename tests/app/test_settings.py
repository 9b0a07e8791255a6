"""The state folder: what only its owner may read, and what survives a kill."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from greenroom.app.settings import Running, StateFolder
from greenroom.local.files import write_private
from greenroom.model.errors import GreenroomError, InvalidInput


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "deep" / "state")
    folder.create()
    return folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_is_its_owners_and_no_part_of_the_repository(state: StateFolder) -> None:
    assert mode(state.root) == 0o700
    assert (state.root / ".gitignore").read_text() == "*\n"


def test_a_folder_that_cannot_be_made_is_named_with_the_option_to_change_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match=r"file/state: cannot be used as state folder: .*--state"):
        StateFolder(tmp_path / "file" / "state").create()


def test_secrets_are_made_once_and_are_for_the_owner_only(state: StateFolder) -> None:
    secret, token = state.webhook_secret(), state.api_token()
    assert len(secret) == len(token) == 64
    assert secret != token.encode()
    assert (StateFolder(state.root).webhook_secret(), StateFolder(state.root).api_token()) == (secret, token)
    assert {mode(state.root / name) for name in ("webhook-secret", "api-token")} == {0o600}


def test_a_secret_of_ones_own_is_taken(state: StateFolder) -> None:
    (state.root / "webhook-secret").write_text("the forge's\n")
    assert state.webhook_secret() == b"the forge's"


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe"])
def test_a_secret_that_cannot_be_one_is_refused_with_the_cure(state: StateFolder, content: bytes) -> None:
    (state.root / "webhook-secret").write_bytes(content)
    with pytest.raises(GreenroomError, match=r"webhook-secret .*delete it"):
        state.webhook_secret()


def test_what_is_running_is_told_from_its_start_to_its_end(state: StateFolder) -> None:
    assert state.running() is None
    running = Running(webhook="http://127.0.0.1:3000/webhooks", repository="/srv/shop")
    state.say_running(running)
    assert StateFolder(state.root).running() == running
    state.say_stopped()
    state.say_stopped()
    assert state.running() is None


def test_a_half_written_note_of_what_is_running_says_nothing(state: StateFolder) -> None:
    (state.root / "running.json").write_text('{"webhook": "http')
    assert state.running() is None


def test_a_private_file_is_replaced_whole_and_stays_private(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("for everybody")
    file.chmod(0o644)
    write_private(file, "for me")
    assert (file.read_text(), mode(file)) == ("for me", 0o600)
    assert list(tmp_path.iterdir()) == [file], "nothing else is left"


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_private(file, "before")
    with pytest.raises(UnicodeEncodeError):
        write_private(file, "half a pair: \ud800")
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]
