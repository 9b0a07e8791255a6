"""deploy/github: what zizmor thinks of the workflows, for which pull requests they build, and what their scripts do."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.deploy.workflow_rule import CALLERS, FOLDER, WORKFLOW, builds, evaluate, fill, group, read, truth

from greenroom.core.webhook import BadSignature, Secrets, verify

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "github-actions.md"
(TELLING,) = re.findall(r"^```yaml\n(      greenroom-url: .*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
FILES = sorted(FOLDER.glob("*.yml"))
JOB = read(WORKFLOW)["jobs"]["build"]
STEPS: dict[str, dict[str, Any]] = {step["name"]: step for step in JOB["steps"]}
INPUTS = read(WORKFLOW)["on"]["workflow_call"]["inputs"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"

ACTIONS = (
    "assigned",
    "auto_merge_disabled",
    "auto_merge_enabled",
    "closed",
    "converted_to_draft",
    "demilestoned",
    "dequeued",
    "edited",
    "enqueued",
    "labeled",
    "locked",
    "milestoned",
    "opened",
    "ready_for_review",
    "reopened",
    "review_request_removed",
    "review_requested",
    "synchronize",
    "unassigned",
    "unlabeled",
    "unlocked",
)
"""All that the webhook event ``pull_request`` has."""


# What zizmor thinks. (What actionlint thinks is in tests/cluster/test_workflows.py, since it takes Go.)


def zizmor(folder: Path, persona: str = "auditor") -> tuple[int, str]:
    program = Path(sys.executable).with_name("zizmor")
    run = subprocess.run(
        [program, "--offline", "--no-progress", "--no-config", f"--persona={persona}", "--format=plain", folder],
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return run.returncode, run.stdout + run.stderr


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository into which a team has copied them."""
    shutil.copytree(FOLDER, tmp_path / ".github" / "workflows")
    return tmp_path


def test_zizmor_finds_nothing(repository: Path) -> None:
    code, said = zizmor(repository)
    assert code == 0, said
    assert "No findings" in said
    assert all(file.name in said for file in FILES)


@pytest.mark.parametrize("file", CALLERS, ids=lambda file: file.name)
def test_it_finds_nothing_either_when_greenroom_is_told(repository: Path, file: Path) -> None:
    told = repository / ".github" / "workflows" / file.name
    told.write_text(file.read_text() + TELLING)
    (job,) = yaml.safe_load(told.read_text())["jobs"].values()
    assert job["secrets"] == {"greenroom-secret": "${{ secrets.GREENROOM_SECRET }}"}
    assert job["with"].keys() <= INPUTS.keys()
    code, said = zizmor(repository)
    assert code == 0, said


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ("@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2", "@v6", "unpinned-uses"),
        ("persist-credentials: false", "fetch-depth: 1", "artipacked"),
        ("REGISTRY: ${{ inputs.registry }}\n", "REGISTRY: ecr\n", ""),
        ("case $REGISTRY in", "case ${{ github.event.pull_request.title }} in", "template-injection"),
        ("build: # zizmor: ignore[excessive-permissions]", "build:", "excessive-permissions"),
    ],
)
def test_a_mistake_would_be_found(repository: Path, right: str, wrong: str, complaint: str) -> None:
    file = repository / ".github" / "workflows" / WORKFLOW.name
    assert right in file.read_text()
    file.write_text(file.read_text().replace(right, wrong))
    code, said = zizmor(repository)
    assert (code != 0) is bool(complaint)
    assert complaint in said


# What anybody can see in the files.


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_actions_are_pinned_to_commits_and_say_their_version(file: Path) -> None:
    for line in re.findall(r"^\s*(?:- )?uses: (.*)$", file.read_text(), re.MULTILINE):
        assert re.fullmatch(r"(\./\.github/workflows/\S+ # zizmor: .*|[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+)", line)


def test_scripts_have_no_expressions_in_them() -> None:
    assert [name for name, step in STEPS.items() if "${{" in step.get("run", "")] == []


def test_only_one_step_sees_the_secret() -> None:
    text = WORKFLOW.read_text()
    assert len(re.findall(r"\bsecrets\.\w", text)) == 1
    assert "secrets.greenroom-secret" in STEPS["Tell Greenroom"]["env"]["SECRET"]
    assert "$SECRET" not in STEPS["Tell Greenroom"]["run"]


@pytest.mark.parametrize("file", CALLERS, ids=lambda file: file.name)
def test_a_caller_gives_no_more_than_its_registry_needs(file: Path) -> None:
    caller = read(file)
    (job,) = caller["jobs"].values()
    needed = {"ecr": {"id-token": "write"}, "ghcr": {"packages": "write"}}
    assert caller["permissions"] == {}
    assert job["permissions"] == {"contents": "read", **needed[job["with"]["registry"]]}
    assert "secrets" not in job


@pytest.mark.parametrize("file", CALLERS, ids=lambda file: file.name)
def test_a_caller_runs_for_pull_requests_only(file: Path) -> None:
    caller = read(file)
    (job,) = caller["jobs"].values()
    assert caller["on"] == {"pull_request": {"types": ["opened", "reopened", "labeled", "synchronize"]}}
    assert job["uses"] == f"./.github/workflows/{WORKFLOW.name}"
    assert set(job["with"]) <= set(INPUTS)


def test_every_input_is_used() -> None:
    used = set(re.findall(r"\binputs\.([\w-]+)", WORKFLOW.read_text()))
    assert used == set(INPUTS)


def test_the_commit_is_checked_out_and_named_and_not_its_merge() -> None:
    assert STEPS["Check out the commit"]["with"] == {
        "ref": "${{ github.event.pull_request.head.sha }}",
        "persist-credentials": False,
    }
    event = {"pull_request": {"number": 7, "head": {"sha": COMMIT}}}
    assert fill(STEPS["Name the image"]["env"]["TAG"], {"github": {"event": event}}) == f"pr7-{COMMIT}"


# For which pull requests they build.


def payload(
    action: str,
    *,
    put_on: str | None = None,
    on: tuple[str, ...] = (),
    head: str | None = "acme/shop",
    draft: bool = False,
    state: str = "open",
    number: int = 7,
) -> dict[str, Any]:
    return {
        "action": action,
        "number": number,
        **({} if put_on is None else {"label": {"name": put_on}}),
        "repository": {"full_name": "acme/shop"},
        "pull_request": {
            "number": number,
            "state": state,
            "draft": draft,
            "labels": [{"name": name} for name in on],
            "head": {"sha": COMMIT, "repo": None if head is None else {"full_name": head}},
        },
    }


HEADS = ("acme/shop", "mallory/shop", None)
"""The repository itself, a fork, and a fork that is gone."""


def table() -> Iterator[tuple[dict[str, Any], bool]]:
    """Every combination, those that GitHub never sends among them, and what the rule says."""
    for action, put_on, on, head, draft, state in itertools.product(
        ACTIONS,
        (None, "pr-env", "pr-envy", "bug"),
        ((), ("bug",), ("pr-env",), ("bug", "pr-env"), ("pr-envy",)),
        HEADS,
        (False, True),
        ("open", "closed"),
    ):
        if action == "labeled":
            asked = put_on == "pr-env"
        else:
            asked = action in ("opened", "reopened", "synchronize") and "pr-env" in on
        event = payload(action, put_on=put_on, on=on, head=head, draft=draft, state=state)
        yield event, asked and head == "acme/shop" and state == "open"


def test_it_builds_when_the_label_was_just_put_on_or_on_a_push_while_it_is_on_and_never_else() -> None:
    rows = list(table())
    wrong = [(event, wanted) for event, wanted in rows if builds(event) is not wanted]
    assert wrong == []
    assert len(rows) == 21 * 4 * 5 * 3 * 2 * 2
    assert sum(wanted for _event, wanted in rows) == 2 * (5 + 3 * 4 * 2)  # drafts as well; 5 sets of labels; 3 pushes


def test_the_label_is_the_callers() -> None:
    assert builds(payload("labeled", put_on="preview"), label="preview")
    assert builds(payload("synchronize", on=("preview",)), label="preview")
    assert not builds(payload("labeled", put_on="pr-env", on=("pr-env",)), label="preview")


def test_letter_case_of_a_label_does_not_matter_as_github_has_it() -> None:
    assert builds(payload("labeled", put_on="PR-Env"))
    assert builds(payload("synchronize", on=("PR-ENV",)))


def test_a_newer_build_ends_the_older_and_nothing_else_ends_it() -> None:
    building = group(payload("synchronize", on=("pr-env",)), run="1")
    for event, wanted in table():
        labels = [label["name"] for label in event["pull_request"]["labels"]]
        own = event["pull_request"]["head"]["repo"] == {"full_name": "acme/shop"}
        shares = group(event, run="2") == building
        if wanted:
            assert shares
        elif own and "pr-env" in labels and event["pull_request"]["state"] == "open":
            assert not shares, event
    assert JOB["concurrency"]["cancel-in-progress"] is True


def test_builds_of_other_pull_requests_and_images_go_on() -> None:
    event, other = (payload("synchronize", on=("pr-env",), number=number) for number in (7, 8))
    assert len({group(event), group(other), group(event, image="worker")}) == 3


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'a' == 'A'", True),
        ("'ß' == 'SS'", False),
        ("null == ''", True),
        ("null == 'a'", False),
        ("'' == 0", True),
        ("true == '1'", True),
        ("'it''s'", "it's"),
        ("'a' && 'b' || 'c'", "b"),
        ("'' && 'b' || 'c'", "c"),
        ("true || false && false", True),
        ("!true == false", True),
        ("!(true && false)", True),
        ("github.nothing.there", None),
        ("contains(github.list.*.name, 'B')", True),
        ("contains(github.list.*.name, 'c')", False),
        ("contains('Hello', 'hell')", True),
        ("contains(fromJSON('[1, 2]'), 2)", True),
        ("contains(github.nothing.*.name, '')", False),
        ("${{ github.list.*.name != null }}", True),
    ],
)
def test_expressions_mean_what_they_mean_to_github(expression: str, value: object) -> None:
    assert evaluate(expression, {"github": {"list": [{"name": "a"}, {"name": "b"}, {}]}}) == value


@pytest.mark.parametrize("expression", ["a", "github.", "format('a')", "1 < 2", "('a'", "'a' 'b'", "github['a']"])
def test_what_is_not_known_is_no_value(expression: str) -> None:
    with pytest.raises(ValueError, match=r"not|no context|missing|too early"):
        evaluate(expression, {"github": {}})


# What the scripts do.


async def run(step: str, folder: Path, **variables: str) -> tuple[int, str]:
    """The script of a step, as the runner starts it, in ``folder``."""
    script = folder.with_name("script.sh")
    script.write_text(STEPS[step]["run"])
    process = await asyncio.create_subprocess_exec(
        "bash", "-e", script, cwd=folder, env={"PATH": os.environ["PATH"], **variables},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("registry", "role", "region", "code"),
    [
        ("ecr", "arn", "eu-central-1", 0),
        ("ecr", "arn", "", 1),
        ("ecr", "", "eu-central-1", 1),
        ("ghcr", "", "", 0),
        ("docker", "arn", "eu-central-1", 1),
        ("", "", "", 1),
    ],
)
async def test_inputs_that_cannot_work_are_refused(
    checkout: Path, registry: str, role: str, region: str, code: int
) -> None:
    found, said = await run("Check the inputs", checkout, REGISTRY=registry, ROLE=role, REGION=region)
    assert found == code
    assert said.startswith("::error::") is bool(code)


@pytest.mark.parametrize("exists", [True, False])
async def test_the_image_is_named_and_looked_for(checkout: Path, exists: bool) -> None:
    output = checkout / "output"
    docker = checkout / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(f'#!/bin/sh\necho "$@" >asked\nexit {0 if exists else 1}\n')
    docker.chmod(0o755)
    variables = {
        "PATH": f"{docker.parent}:{os.environ['PATH']}",
        "GITHUB_OUTPUT": str(output),
        "HOST": "ghcr.io",
        "REPOSITORY": "Acme/Shop",
        "TAG": f"pr7-{COMMIT}",
    }
    code, said = await run("Name the image", checkout, **variables)
    assert code == 0, said
    image = f"ghcr.io/acme/shop:pr7-{COMMIT}"
    assert output.read_text() == f"name={image}\n" + ("exists=true\n" if exists else "")
    assert (checkout / "asked").read_text().split()[-1] == image


class Listener:
    """Greenroom's webhook: it answers what it is told to, 200 in the end, and keeps what came."""

    def __init__(self, *answers: int) -> None:
        self._answers = list(answers)
        self.came: list[tuple[Mapping[str, str], bytes]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.came.append((request.headers, await request.read()))
        status = self._answers.pop(0) if self._answers else 200
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 302 else {})


async def tell(checkout: Path, listener: Listener, **variables: str) -> str:
    """What the step says. It never fails."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", listener.answer)
    async with TestServer(app) as server:
        code, said = await run(
            "Tell Greenroom",
            checkout,
            **{
                "URL": str(server.make_url("/webhooks")),
                "SECRET": "s3cret ünïcode",
                "REPOSITORY": "https://github.com/acme/shop",
                "NUMBER": "7",
                "COMMIT": COMMIT,
                "IMAGE": f"ghcr.io/acme/shop:pr7-{COMMIT}",
                "STATUS": "success",
                "RUN": "https://github.com/acme/shop/actions/runs/1",
                **variables,
            },
        )
    assert code == 0, said
    assert "s3cret" not in said
    return said


SECRETS = Secrets(("s3cret ünïcode".encode(),))


@pytest.mark.parametrize(("status", "conclusion"), [("success", "success"), ("failure", "failure")])
async def test_greenroom_is_told_in_a_signed_call(checkout: Path, status: str, conclusion: str) -> None:
    listener = Listener()
    said = await tell(checkout, listener, STATUS=status)
    assert said == "Greenroom answered 200\n"
    ((headers, body),) = listener.came
    verify(SECRETS, headers, body)
    with pytest.raises(BadSignature):
        verify(SECRETS, headers, body + b" ")
    assert headers["X-GitHub-Event"] == "greenroom_image"
    assert headers["Content-Type"] == "application/json"
    assert len(headers["X-GitHub-Delivery"]) == 36
    assert json.loads(body) == {
        "action": "built",
        "repository": {"html_url": "https://github.com/acme/shop"},
        "number": 7,
        "commit": COMMIT,
        "image": f"ghcr.io/acme/shop:pr7-{COMMIT}",
        "conclusion": conclusion,
        "url": "https://github.com/acme/shop/actions/runs/1",
    }


async def test_a_failure_before_the_image_has_a_name_is_told_too(checkout: Path) -> None:
    listener = Listener()
    await tell(checkout, listener, STATUS="failure", IMAGE="")
    ((_headers, body),) = listener.came
    assert (json.loads(body)["image"], json.loads(body)["conclusion"]) == ("", "failure")


async def test_it_is_told_again_when_greenroom_cannot_listen(checkout: Path) -> None:
    listener = Listener(503)
    assert await tell(checkout, listener) == "Greenroom answered 200\n"
    (first, again) = listener.came
    assert first[1] == again[1]
    assert first[0]["X-GitHub-Delivery"] == again[0]["X-GitHub-Delivery"]


@pytest.mark.parametrize("answer", [302, 401, 404])
async def test_an_answer_that_will_not_change_is_a_warning(checkout: Path, answer: int) -> None:
    listener = Listener(answer)
    said = await tell(checkout, listener)
    assert said.startswith("::warning::Greenroom was not told: HTTPError: HTTP Error " + str(answer))
    assert len(listener.came) == 1


async def test_without_a_secret_nothing_is_sent(checkout: Path) -> None:
    listener = Listener()
    said = await tell(checkout, listener, SECRET="")
    assert said == "::warning::Greenroom was not told: greenroom-secret is empty\n"
    assert listener.came == []


async def test_no_file_of_the_pull_request_is_run_where_the_secret_is(checkout: Path) -> None:
    for module in ("hmac", "json", "uuid", "urllib", "sitecustomize"):
        (checkout / f"{module}.py").write_text("raise SystemExit('taken over')")
    assert await tell(checkout, Listener()) == "Greenroom answered 200\n"


@pytest.mark.parametrize(
    ("cancelled", "url", "told"),
    [(False, "https://x", True), (True, "https://x", False), (False, "", False), (True, "", False)],
)
def test_greenroom_is_told_of_success_and_failure_and_not_of_a_cancelled_build(
    cancelled: bool, url: str, told: bool
) -> None:
    condition = STEPS["Tell Greenroom"]["if"]
    found = evaluate(condition, {"inputs": {"greenroom-url": url}}, {"cancelled": lambda: cancelled})
    assert truth(found) is told


# What the page says.


def test_the_page_names_every_input_and_file() -> None:
    page = PAGE.read_text()
    assert set(re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE)) == set(INPUTS)
    assert all(file.name in page for file in FILES)


@pytest.mark.parametrize("target", re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", PAGE.read_text()))
def test_a_page_that_is_linked_is_there(target: str) -> None:
    assert (PAGE.parent / target).exists()
