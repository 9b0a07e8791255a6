"""Images of one machine: commits that are checked out and built."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.local.machine import INSTANCE, TIMING, Repository, deployment, image, machine, true

from greenroom.local.instance import marked
from greenroom.local.workloads import procfile
from greenroom.local.workloads.images import Asked, Building, Built, Images, ImageState, Missing, Unusable


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture
async def images(tmp_path: Path, repository: Repository) -> AsyncIterator[Images]:
    made = make(tmp_path, repository)
    yield made
    await made.close()


def make(folder: Path, repository: Repository) -> Images:
    return Images(repository.path, folder / "images", instance=INSTANCE, timing=TIMING)


async def built(images: Images, commit: str) -> Built:
    await true(lambda: isinstance(images.state(image(commit)), Built))
    state = images.state(image(commit))
    assert isinstance(state, Built)
    return state


async def missing(images: Images, commit: str, attempts: int = 1) -> str:
    def failed(state: ImageState) -> bool:
        return isinstance(state, Missing) and state.attempts >= attempts

    await true(lambda: failed(images.state(image(commit))))
    state = images.state(image(commit))
    assert isinstance(state, Missing)
    return state.message


async def test_an_image_is_a_commit_that_was_built(images: Images, repository: Repository) -> None:
    commit = repository.commit(Procfile="build: cp app.py built\nweb: python app.py --port $PORT\n", app="hello")
    assert isinstance(images.state(image(commit)), Asked)
    state = await built(images, commit)
    assert (state.path / "built").read_text() == "hello"
    assert state.web == "python app.py --port $PORT"


async def test_a_short_commit_is_the_same_image(images: Images, repository: Repository) -> None:
    commit = repository.commit(app="hello")
    assert (await built(images, commit[:7])).path == (await built(images, commit)).path


async def test_a_commit_is_built_once_however_often_it_is_asked_for(
    images: Images, repository: Repository, tmp_path: Path
) -> None:
    commit = repository.commit(Procfile=f"build: echo built >> {tmp_path}/count")
    images.state(image(commit[:10]))
    images.state(image(commit[:20]))
    await built(images, commit)
    await built(images, commit[:10])
    await built(images, commit[:20])
    assert (tmp_path / "count").read_text() == "built\n"


@pytest.mark.parametrize(
    ("reference", "reason", "told"),
    [
        (
            "nginx:latest",
            "ImagePullBackOff",
            "is not an image that one machine can run: its tag does not end in a commit",
        ),
        ("nginx", "ImagePullBackOff", "its tag does not end in a commit"),
        ("localhost:5000/shop", "ImagePullBackOff", "its tag does not end in a commit"),
        ("shop:pr7-abc", "ImagePullBackOff", "its tag does not end in a commit"),
        (
            "<AWS ACCOUNT ID>.dkr.ecr.<Region>.amazonaws.com/shop:pr7-0123456",
            "InvalidImageName",
            "not an image reference",
        ),
        ("shop:pr7-0123456 --help", "InvalidImageName", "not an image reference"),
        ("../shop:0123456", "InvalidImageName", "not an image reference"),
        ("", "InvalidImageName", "not an image reference"),
    ],
)
async def test_what_is_no_commit_is_no_image(images: Images, reference: str, reason: str, told: str) -> None:
    state = images.state(reference)
    assert isinstance(state, Unusable)
    assert state.reason == reason
    assert told in state.message


async def test_a_missing_commit_is_named_and_found_when_it_is_there(
    images: Images, repository: Repository, tmp_path: Path
) -> None:
    elsewhere = Repository(tmp_path / "elsewhere")
    commit = elsewhere.commit(app="hello")
    message = await missing(images, commit, attempts=2)
    assert message.startswith(f"commit {commit[:12]} is not in {repository.path}: fetch it there")
    repository.git("fetch", "--quiet", str(elsewhere.path), commit)
    images.poke()
    await built(images, commit)


async def test_a_branch_with_the_name_of_a_commit_is_not_taken_for_one(images: Images, repository: Repository) -> None:
    repository.commit(app="hello")
    repository.git("branch", "deadbeef")
    assert "deadbeef is the name of a branch or tag" in await missing(images, "deadbeef")


async def test_a_folder_that_is_no_repository_says_so(tmp_path: Path) -> None:
    images = Images(tmp_path, tmp_path / "images", instance=INSTANCE, timing=TIMING)
    assert "not a git repository" in await missing(images, "0123456")
    await images.close()


async def test_a_commit_that_cannot_be_checked_out_says_why(images: Images, repository: Repository) -> None:
    commit = repository.commit(app="a file that the disk lost")
    blob = repository.git("rev-parse", f"{commit}:app.py")
    (repository.path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    assert f"unable to read sha1 file of app.py ({blob})" in await missing(images, commit)


async def test_a_build_that_fails_tells_its_last_words_and_is_tried_again(
    images: Images, repository: Repository, tmp_path: Path
) -> None:
    commit = repository.commit(Procfile=f"build: test -e {tmp_path}/compiler || {{ echo no compiler; exit 2; }}")
    message = await missing(images, commit, attempts=2)
    assert f"the build of commit {commit[:12]} failed" in message
    assert "exit code 2: no compiler" in message
    (tmp_path / "compiler").touch()
    await built(images, commit)


async def test_a_build_that_hangs_is_ended(repository: Repository, tmp_path: Path) -> None:
    timing = replace(TIMING, build=0.1)
    images = Images(repository.path, tmp_path / "images", instance=INSTANCE, timing=timing)
    commit = repository.commit(Procfile="build: sleep 60 & sleep 60")
    assert "was still running after 0.1 s" in await missing(images, commit)
    await images.close()
    assert marked({"GREENROOM_INSTANCE": INSTANCE, "GREENROOM_BUILD": commit}) == []


async def test_a_build_that_hangs_does_not_hold_up_what_needs_no_build(images: Images, repository: Repository) -> None:
    slow = [repository.commit(Procfile="build: sleep 60", app=str(number)) for number in range(3)]
    for commit in slow:
        images.state(image(commit))
    await built(images, repository.commit(app="quick"))
    await true(lambda: all(isinstance(images.state(image(commit)), Building) for commit in slow))


async def test_a_branch_that_is_deleted_or_forced_takes_nothing_away(images: Images, repository: Repository) -> None:
    repository.commit(app="base")
    repository.git("checkout", "--quiet", "-b", "topic")
    commit = repository.commit(app="pushed")
    state = await built(images, commit)
    repository.git("checkout", "--quiet", "main")
    repository.git("branch", "--quiet", "-D", "topic")
    repository.git("reflog", "expire", "--expire=now", "--all")
    repository.git("gc", "--quiet", "--prune=now")
    assert (state.path / "app.py").read_text() == "pushed"
    assert repository.git("cat-file", "-t", commit) == "commit"


async def test_the_users_checkout_is_not_touched(images: Images, repository: Repository) -> None:
    old = repository.commit(app="old")
    repository.commit(app="new")
    (repository.path / "app.py").write_text("being edited")
    before = [repository.git("status", "--porcelain=v2", "--branch"), repository.git("branch", "--all")]
    await built(images, old)
    assert [repository.git("status", "--porcelain=v2", "--branch"), repository.git("branch", "--all")] == before
    assert (repository.path / "app.py").read_text() == "being edited"


async def test_hooks_of_the_repository_are_not_run(images: Images, repository: Repository, tmp_path: Path) -> None:
    hook = repository.path / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
    hook.chmod(0o755)
    await built(images, repository.commit(app="hello"))
    assert not (tmp_path / "hooked").exists()


async def test_what_nobody_names_any_more_is_removed_and_nothing_else(images: Images, repository: Repository) -> None:
    first, second = repository.commit(app="one"), repository.commit(app="two")
    gone, kept = await built(images, first), await built(images, second)
    images.keep([image(second), "nginx:latest"])
    await true(lambda: not gone.path.exists())
    await true(lambda: first not in repository.git("worktree", "list"))
    assert (kept.path / "app.py").exists()
    await built(images, first)


async def test_a_build_that_nobody_wants_any_more_is_ended(images: Images, repository: Repository) -> None:
    commit = repository.commit(Procfile="build: sleep 60", app="slow")
    images.state(image(commit))
    await true(lambda: bool(marked({"GREENROOM_INSTANCE": INSTANCE, "GREENROOM_BUILD": commit})))
    images.keep([])
    await true(lambda: not marked({"GREENROOM_INSTANCE": INSTANCE, "GREENROOM_BUILD": commit}))
    await true(lambda: commit not in repository.git("worktree", "list"))


async def test_a_build_that_was_cut_off_is_made_anew(repository: Repository, tmp_path: Path) -> None:
    commit = repository.commit(Procfile=f"build: test -e {tmp_path}/go || sleep 60; echo built > result")
    killed = make(tmp_path, repository)
    killed.state(image(commit))
    await true(lambda: bool(marked({"GREENROOM_INSTANCE": INSTANCE, "GREENROOM_BUILD": commit})))
    await killed.close()
    (tmp_path / "images" / commit / "half").touch()
    administration = repository.path / ".git" / "worktrees" / commit
    (administration / "locked").write_text("initializing")
    (administration / "index.lock").touch()
    (tmp_path / "go").touch()

    images = make(tmp_path, repository)
    state = await built(images, commit)
    assert (state.path / "result").read_text() == "built\n"
    assert not (state.path / "half").exists()
    await images.close()


async def test_what_is_built_is_not_built_again_after_a_restart(repository: Repository, tmp_path: Path) -> None:
    commit = repository.commit(Procfile=f"build: echo built >> {tmp_path}/count")
    for _ in range(2):
        images = make(tmp_path, repository)
        await built(images, commit)
        await images.close()
    assert (tmp_path / "count").read_text() == "built\n"


async def test_an_image_whose_folder_was_deleted_is_built_again(images: Images, repository: Repository) -> None:
    commit = repository.commit(app="hello")
    state = await built(images, commit)
    await asyncio.to_thread(shutil.rmtree, state.path)
    assert (await built(images, commit)).path.is_dir()


async def test_a_pod_waits_for_its_image_as_in_kubernetes(tmp_path: Path, repository: Repository) -> None:
    elsewhere = Repository(tmp_path / "elsewhere")
    commit = elsewhere.server("late")
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(commit))
        assert f"commit {commit[:12]} is not in" in await here.waiting("ImagePullBackOff")
        repository.git("fetch", "--quiet", str(elsewhere.path), commit)
        await here.ready()


async def test_a_pod_says_that_its_image_is_being_built(tmp_path: Path, repository: Repository) -> None:
    commit = repository.commit(Procfile="build: sleep 60\nweb: true")
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(commit))
        assert await here.waiting("ImagePullBackOff") == f"commit {commit[:12]} is being built"


async def test_a_commit_that_nobody_knows_how_to_start_says_so(tmp_path: Path, repository: Repository) -> None:
    commit = repository.commit(app="hello")
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(commit))
        told = f"no Procfile with a web: line in commit {commit[:7]}, and no command in the container"
        assert await here.waiting("CreateContainerError") == told


def test_a_procfile_is_read_as_others_read_it() -> None:
    content = (
        "# how to run\nbuild: npm ci && npm run build\nweb:   node server.js  \nworker: node worker.js\n: nothing\n"
    )
    assert procfile.parse(content) == procfile.Procfile(build="npm ci && npm run build", web="node server.js")
    assert procfile.parse("") == procfile.Procfile()


@pytest.mark.parametrize(
    ("line", "replaces"),
    [
        ("node server.js --port $PORT", True),
        ("cd web && node server.js", False),
        ("PORT=80 node server.js", False),
        ("exec node server.js", False),
        ("node server.js | tee log", False),
    ],
)
def test_a_simple_command_takes_the_place_of_its_shell(line: str, replaces: bool) -> None:
    assert procfile.shell(line) == ["sh", "-c", f"exec {line}" if replaces else line]
