"""From a Deployment to processes that answer, through every change that a preview sees."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.local.machine import (
    DEADLINE,
    Machine,
    Repository,
    WallClock,
    answer,
    deployment,
    fetch,
    is_ready,
    machine,
    named,
    port_of,
    restarts,
    true,
    until,
)

from greenroom.local import instance
from greenroom.local.storage.store import Store
from greenroom.model.manifest import (
    COMMIT_ANNOTATION,
    DEPLOYMENT,
    EVENT,
    POD,
    Kind,
    Manifest,
    Ref,
    annotations_of,
    condition_of,
    labels_of,
    name_of,
    number,
    table,
    text,
    uid_of,
)

RUN_WORKLOADS = """
import asyncio, sys
from pathlib import Path
from tests.local.machine import DEADLINE, Repository, deployment, machine

async def main(folder, repository, commit):
    async with machine(folder, repository) as here:
        await here.apply(deployment(commit))
        await here.ready()
        print("ready", flush=True)
        await asyncio.sleep(DEADLINE)

repository = Repository.__new__(Repository)
repository.path = Path(sys.argv[2])
asyncio.run(main(Path(sys.argv[1]), repository, sys.argv[3]))
"""


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


async def test_a_deployment_answers_on_the_port_it_was_told(tmp_path: Path, repository: Repository) -> None:
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(repository.server("one")))
        (pod,) = await here.ready()
        assert fetch(port_of(pod)) == "one"
        assert text(pod, "status", "phase") == "Running"
        settled = await _settled(here)
        for count in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"):
            assert number(settled, "status", count) == 1, count


async def test_a_pod_is_found_from_its_commit(tmp_path: Path, repository: Repository) -> None:
    commit = repository.server("one")
    manifest = deployment(commit)
    annotated = {**manifest, "metadata": {**table(manifest, "metadata"), "annotations": {COMMIT_ANNOTATION: commit}}}
    async with machine(tmp_path, repository) as here:
        await here.apply(annotated)
        (pod,) = await here.ready()
        (replica_set,) = await here.replica_sets()
        assert text(pod, "metadata", "ownerReferences", 0, "uid") == uid_of(replica_set)
        assert annotations_of(replica_set)[COMMIT_ANNOTATION] == commit
        assert labels_of(pod)["pod-template-hash"] == labels_of(replica_set)["pod-template-hash"]
        assert name_of(pod).startswith(f"{name_of(replica_set)}-")


async def test_each_replica_has_a_process_and_a_port(tmp_path: Path, repository: Repository) -> None:
    async with machine(tmp_path, repository) as here:
        commit = repository.server("one")
        await here.apply(deployment(commit, spec={"replicas": 3}))
        pods = await here.ready(count=3)
        assert len({port_of(pod) for pod in pods}) == 3
        await here.apply(deployment(commit, spec={"replicas": 1}))
        await until(lambda: _has_pods(here, 1))
        await here.apply(deployment(commit, spec={"replicas": 0}))
        await until(lambda: _has_pods(here, 0))


async def test_a_push_starts_the_new_commit_beside_the_old_one_until_it_is_ready(
    tmp_path: Path, repository: Repository
) -> None:
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(repository.server("one")))
        (old,) = await here.ready()
        gate = tmp_path / "gate"
        slow = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
        second = repository.script(slow + (repository.path / "app.py").read_text().replace("one", "two"))
        await here.apply(deployment(second))
        await until(lambda: _has_pods(here, 2))
        assert fetch(port_of(old)) == "one"
        assert [name_of(pod) for pod in await here.pods() if is_ready(pod)] == [name_of(old)]
        gate.touch()
        await until(lambda: _is_gone(here, old))
        (new,) = await here.ready()
        assert fetch(port_of(new)) == "two"
        await until(lambda: _has_replica_sets(here, 1))


async def test_a_commit_that_fails_leaves_the_old_one_serving(tmp_path: Path, repository: Repository) -> None:
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(repository.server("one")))
        (old,) = await here.ready()
        broken = repository.script("raise SystemExit('no database')")
        await here.apply(deployment(broken, spec={"progressDeadlineSeconds": 1}))
        assert "no database" in await here.waiting("CrashLoopBackOff")

        async def given_up() -> bool:
            progressing = condition_of(await here.get(DEPLOYMENT, "web"), "Progressing")
            return text(progressing, "reason") == "ProgressDeadlineExceeded"

        await until(given_up)
        assert fetch(port_of(old)) == "one"
        assert text(condition_of(await here.get(DEPLOYMENT, "web"), "Available"), "status") == "True"
        await here.apply(deployment(repository.server("three")))
        await until(lambda: _is_gone(here, old))
        (new,) = await here.ready()
        assert fetch(port_of(new)) == "three"


async def test_recreate_stops_the_old_commit_first(tmp_path: Path, repository: Repository) -> None:
    lock = tmp_path / "lock"
    guard = (
        f"import fcntl\nlock = open({str(lock)!r}, 'w')\n"
        "fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # two at a time would crash\n"
    )
    async with machine(tmp_path, repository) as here:
        spec = {"strategy": {"type": "Recreate"}}
        repository.server("one")
        first = repository.script(guard + (repository.path / "app.py").read_text())
        await here.apply(deployment(first, spec=spec))
        (old,) = await here.ready()
        second = repository.script((repository.path / "app.py").read_text().replace("one", "two"))
        await here.apply(deployment(second, spec=spec))
        await until(lambda: _is_gone(here, old))
        (new,) = await here.ready()
        assert fetch(port_of(new)) == "two"
        assert restarts(new) == 0


async def test_nothing_is_left_of_a_deleted_deployment(tmp_path: Path, repository: Repository) -> None:
    async with machine(tmp_path, repository) as here:
        commit = repository.server("one")
        await here.apply(deployment(commit))
        (pod,) = await here.ready()
        await here.cluster.delete(Ref(DEPLOYMENT, "default", "web"))
        await until(lambda: _has_pods(here, 0))
        assert instance.marked({instance.POD: uid_of(pod)}) == []
        await true(lambda: not (here.state / "images" / commit).exists())
        assert list((here.state / "pods").glob("*")) == []
        assert list((here.state / "logs").glob("*")) == []
        await true(lambda: commit not in repository.git("worktree", "list"))


async def test_one_commit_is_removed_and_the_other_stays(tmp_path: Path, repository: Repository) -> None:
    async with machine(tmp_path, repository) as here:
        first, second = repository.server("one"), repository.server("two")
        await here.apply(deployment(first, name="first"))
        await here.apply(deployment(second, name="second"))
        await here.ready("first")
        (kept,) = await here.ready("second")
        await here.cluster.delete(Ref(DEPLOYMENT, "default", "first"))
        await true(lambda: not (here.state / "images" / first).exists())
        assert (here.state / "images" / second / "app.py").exists()
        assert fetch(port_of(kept)) == "two"


async def test_an_image_stays_while_a_process_of_it_still_runs(tmp_path: Path, repository: Repository) -> None:
    seen = tmp_path / "seen"
    slow = (
        "import os, signal, time\n"
        "def finish(*_):\n"
        "    time.sleep(0.6)  # longer than it takes to look for images that nobody needs\n"
        f"    open({str(seen)!r}, 'w').write(str(os.listdir('.')))\n"
        "    raise SystemExit\n"
        "signal.signal(signal.SIGTERM, finish)\n"
    )
    repository.server("one")
    commit = repository.script(slow + (repository.path / "app.py").read_text())
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(commit))
        (pod,) = await here.ready()
        await here.cluster.delete(Ref(DEPLOYMENT, "default", "web"))
        await here.cluster.delete(Ref(POD, "default", name_of(pod)), grace_seconds=0)
        await true(lambda: not (here.state / "images" / commit).exists())
        assert "app.py" in seen.read_text()


async def test_an_unchanged_world_is_not_written_to(tmp_path: Path, repository: Repository) -> None:
    manifest = deployment(repository.server("one"))
    async with machine(tmp_path, repository) as here:
        await here.apply(manifest)
        await here.ready()
        await _settled(here)
        before = (await here.cluster.list(DEPLOYMENT)).resource_version
        await here.apply(manifest)
        touched = await here.apply(named(Kind("", "v1", "ConfigMap"), "unrelated"))
        await until(lambda: _sees(here, touched))
        after = (await here.cluster.list(DEPLOYMENT)).resource_version
        assert int(after) == int(before) + 1


async def test_a_restart_carries_on_with_the_same_pods(tmp_path: Path, repository: Repository) -> None:
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(repository.server("one")))
        (before,) = await here.ready()
    assert instance.marked({instance.POD: uid_of(before)}) == []
    async with machine(tmp_path, repository) as here:
        assert await answer(here) == "one"
        (after,) = await here.ready()
        assert uid_of(after) == uid_of(before)
        assert restarts(after) == 0


async def test_the_pods_of_a_stopped_greenroom_do_not_look_ready(tmp_path: Path, repository: Repository) -> None:
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(repository.server("one")))
        await here.ready()
        state = here.state
    store = Store.open(state / "cluster.db", clock=WallClock())
    try:
        assert [is_ready(pod) for pod in (await store.list(POD)).items] == [False]
    finally:
        store.close()


async def test_kill_9_leaves_no_orphan_and_the_next_start_carries_on(tmp_path: Path, repository: Repository) -> None:
    commit = repository.server("one")
    command = [sys.executable, "-c", RUN_WORKLOADS, str(tmp_path), str(repository.path), commit]
    greenroom = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert greenroom.stdout is not None
    assert await asyncio.wait_for(greenroom.stdout.readline(), DEADLINE) == b"ready\n"
    greenroom.send_signal(signal.SIGKILL)
    await greenroom.wait()
    (tmp_path / "state" / "pods" / "a-pod-that-is-gone").mkdir(parents=True)
    (tmp_path / "state" / "images" / ("0" * 40)).mkdir()

    assert await instance.end_leftovers(f"test-instance-{greenroom.pid}", grace=1.0) == 1
    async with machine(tmp_path, repository) as here:
        assert await answer(here) == "one"
        (pod,) = await here.ready()
        assert restarts(pod) == 0
        assert [folder.name for folder in (here.state / "pods").glob("*")] in ([], [uid_of(pod)])
        await true(lambda: not (here.state / "images" / ("0" * 40)).exists())


async def test_a_kind_that_is_not_run_says_so(tmp_path: Path, repository: Repository) -> None:
    async with machine(tmp_path, repository) as here:
        await here.apply(named(Kind("batch", "v1", "CronJob"), "nightly", spec={"schedule": "0 0 * * *"}))

        async def events() -> list[Manifest]:
            return list((await here.cluster.list(EVENT, namespace="default")).items)

        (event,) = await until(events)
        assert text(event, "reason") == "NotRunOnOneMachine"
        assert "CronJob nightly is stored" in text(event, "message")


async def _settled(here: Machine) -> Manifest:
    """Wait until the rollout is complete and said to be."""

    async def complete() -> Manifest | None:
        manifest = await here.get(DEPLOYMENT, "web")
        progressing = condition_of(manifest, "Progressing")
        done = text(progressing, "reason") == "NewReplicaSetAvailable"
        observed = number(manifest, "status", "observedGeneration") == number(manifest, "metadata", "generation")
        return manifest if done and observed else None

    return await until(complete)


async def _has_pods(here: Machine, count: int) -> bool:
    return len(await here.pods()) == count


async def _has_replica_sets(here: Machine, count: int) -> bool:
    return len(await here.replica_sets()) == count


async def _is_gone(here: Machine, pod: Manifest) -> bool:
    return uid_of(pod) not in {uid_of(each) for each in await here.pods()}


async def _sees(here: Machine, manifest: Manifest) -> bool:
    ref = Ref(Kind("", "v1", "ConfigMap"), "default", name_of(manifest))
    return here.informers.get(ref) is not None
