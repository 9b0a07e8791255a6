"""Exec plugins as they behave: they take time, expire, fail, hang, and print what nobody should see."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from greenroom.adapters.kube_credentials import Credential
from greenroom.adapters.kube_exec import VERSIONS, ExecCredentials, Plugin, scrubbed
from greenroom.model.errors import Unavailable
from greenroom.model.manifest import Json

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
PROGRAM = """
import json, os, pathlib, sys
folder = pathlib.Path(sys.argv[1])
with (folder / "runs").open("a") as runs:
    runs.write("x")
sys.stderr.write((folder / "stderr").read_text())
sys.stdout.write((folder / "stdout").read_text())
sys.exit(int((folder / "exit").read_text()))
"""


class Clock:
    """Wall time and monotonic time, moved by hand."""

    passed = timedelta()

    def now(self) -> datetime:
        return NOON + self.passed

    def monotonic(self) -> float:
        return self.passed.total_seconds()


class Script:
    """A plugin that prints what it is told to, and counts how often it is run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        (folder / "plugin.py").write_text(PROGRAM)
        self.prints("token-1")

    @property
    def plugin(self) -> Plugin:
        return Plugin(sys.executable, ("-S", str(self.folder / "plugin.py"), str(self.folder)))

    @property
    def runs(self) -> int:
        counted = self.folder / "runs"
        return len(counted.read_text()) if counted.exists() else 0

    def credentials(self) -> ExecCredentials:
        return ExecCredentials(self.plugin, now=self.clock.now, monotonic=self.clock.monotonic)

    def prints(self, token: str, *, lasts: timedelta | None = None) -> None:
        expiry = {"expirationTimestamp": f"{self.clock.now() + lasts:%Y-%m-%dT%H:%M:%SZ}"} if lasts else {}
        self.answers(exec_credential({"token": token, **expiry}))

    def answers(self, stdout: str, *, stderr: str = "", code: int = 0) -> None:
        for name, content in {"stdout": stdout, "stderr": stderr, "exit": str(code)}.items():
            (self.folder / name).write_text(content)


def exec_credential(status: Mapping[str, Json], **fields: Json) -> str:
    return json.dumps({"apiVersion": VERSIONS[0], "kind": "ExecCredential", "status": status} | fields)


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


async def test_what_the_plugin_prints_is_kept(script: Script) -> None:
    credentials = script.credentials()
    found = await asyncio.gather(*(credentials.current() for _ in range(5)))
    script.clock.passed = timedelta(days=1)
    assert [*found, await credentials.current()] == [Credential("token-1")] * 6
    assert script.runs == 1


async def test_it_is_run_again_shortly_before_the_token_expires(script: Script) -> None:
    script.prints("token-1", lasts=timedelta(minutes=14))
    credentials = script.credentials()
    await credentials.current()
    script.prints("token-2", lasts=timedelta(minutes=28))
    script.clock.passed = timedelta(minutes=12, seconds=59)
    assert await credentials.current() == Credential("token-1")
    script.clock.passed = timedelta(minutes=13)
    assert await credentials.current() == Credential("token-2")


async def test_a_refused_token_is_replaced_once_for_all_who_were_refused(script: Script) -> None:
    credentials = script.credentials()
    refused = await credentials.current()
    script.prints("token-2")
    script.clock.passed = timedelta(minutes=1)
    renewed = await asyncio.gather(*(credentials.renewed(refused) for _ in range(5)))
    assert renewed == [Credential("token-2")] * 5
    assert script.runs == 2


async def test_a_server_that_refuses_everything_does_not_make_it_run_for_each_request(script: Script) -> None:
    credentials = script.credentials()
    for _ in range(5):
        assert await credentials.renewed(await credentials.current()) is None
    assert script.runs == 1


async def test_a_token_that_is_short_lived_already_does_not_make_it_run_for_each_request(script: Script) -> None:
    script.prints("token-1", lasts=timedelta(seconds=-5))
    credentials = script.credentials()
    for _ in range(5):
        assert await credentials.current() == Credential("token-1")
    assert script.runs == 1


async def test_a_client_certificate_is_taken_too(script: Script) -> None:
    script.answers(exec_credential({"clientCertificateData": "certificate", "clientKeyData": "key"}))
    assert await script.credentials().current() == Credential("", "certificate", "key")


async def test_a_failing_plugin_is_told_with_its_last_words_but_no_secret(script: Script) -> None:
    secret = "AKIA0123456789/secret+0123456789abcdefghij"
    complaint = "Traceback: noise\n" * 500 + f"session token {secret} has expired: run aws sso login\n"
    script.answers("", stderr=complaint, code=255)
    with pytest.raises(Unavailable, match=r"exit code 255.*run aws sso login") as caught:
        await script.credentials().current()
    assert "0123456789" not in str(caught.value)
    assert len(str(caught.value)) < 700


async def test_a_failing_plugin_rests_before_it_is_run_again(script: Script) -> None:
    script.answers("", code=1)
    credentials = script.credentials()
    for _ in range(5):
        with pytest.raises(Unavailable) as caught:
            await credentials.current()
        assert caught.value.retry_after == 10
    assert script.runs == 1
    script.prints("token-1")
    script.clock.passed = timedelta(seconds=10)
    assert await credentials.current() == Credential("token-1")


async def test_a_plugin_that_fails_leaves_the_token_that_is_still_good(script: Script) -> None:
    script.prints("token-1", lasts=timedelta(minutes=14))
    credentials = script.credentials()
    refused = await credentials.current()
    script.answers("", stderr="no network", code=1)
    script.clock.passed = timedelta(minutes=13)
    assert await credentials.current() == Credential("token-1")
    script.clock.passed = timedelta(minutes=14)
    with pytest.raises(Unavailable, match="no network"):
        await credentials.renewed(refused)


@pytest.mark.parametrize(
    ("printed", "complaint"),
    [
        ("hush", "printed no JSON"),
        ("[1]", "printed no ExecCredential of client.authentication.k8s.io/v1"),
        (exec_credential({"token": "hush"}, apiVersion=VERSIONS[1]), "printed no ExecCredential"),
        (exec_credential({"token": "hush"}, kind="Secret"), "printed no ExecCredential"),
        (exec_credential({}), "neither a token nor a client certificate"),
        (exec_credential({"token": "hush\n"}), "that no header can carry"),
        (exec_credential({"token": "hush", "clientKeyData": "hush"}), "without its key, or the other way round"),
        (exec_credential({"token": "hush", "expirationTimestamp": "hush"}), "no RFC 3339 time"),
    ],
)
async def test_what_is_no_credential_is_told_without_quoting_it(script: Script, printed: str, complaint: str) -> None:
    script.answers(printed)
    with pytest.raises(Unavailable, match=complaint) as caught:
        await script.credentials().current()
    assert "hush" not in str(caught.value)


async def test_a_plugin_that_went_away_comes_with_the_hint_how_to_install_it(tmp_path: Path) -> None:
    plugin = Plugin(str(tmp_path / "gone"), install_hint="Install the AWS CLI.")
    with pytest.raises(Unavailable, match=r"gone.* cannot be started: No such file(.|\n)*Install the AWS CLI"):
        await ExecCredentials(plugin).current()


async def test_a_hanging_plugin_is_ended_with_its_children() -> None:
    # The child keeps the output open, as a shell's would.
    plugin = Plugin("sh", ("-c", "sleep 86399 & sleep 86399"))
    with pytest.raises(Unavailable, match=r"did not end within 0\.2 seconds"):
        await ExecCredentials(plugin, timeout=0.2).current()
    assert not sleeping()


async def test_a_plugin_ends_with_the_request_that_waits_for_it() -> None:
    request = asyncio.create_task(ExecCredentials(Plugin("sh", ("-c", "sleep 86399 & sleep 86399"))).current())
    async with asyncio.timeout(10):
        while not sleeping():  # noqa: ASYNC110 - a process has no event for it
            await asyncio.sleep(0.02)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert not sleeping()


def sleeping() -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if process.status() != psutil.STATUS_ZOMBIE and "86399" in process.cmdline()
    ]


def test_ordinary_complaints_stay_readable() -> None:
    complaint = b"The config profile (staging-administrators) could not be found\nin /root/.aws/config"
    assert scrubbed(complaint) == "The config profile (staging-administrators) could not be found in /root/.aws/config"
