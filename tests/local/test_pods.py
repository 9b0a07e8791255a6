"""What an application may do, and what then happens: to its own pod, and to nothing else."""

from __future__ import annotations

import base64
import json
import re
import signal
import socket
from pathlib import Path

import psutil
import pytest
from tests.local.machine import (
    SERVER,
    Machine,
    Repository,
    answer,
    deployment,
    fetch,
    image,
    is_ready,
    last_end,
    machine,
    named,
    port_of,
    restarts,
    state_of,
    true,
    until,
)

from greenroom.local import instance
from greenroom.model.errors import NotFound
from greenroom.model.manifest import (
    CONFIG_MAP,
    DEPLOYMENT,
    POD,
    SECRET,
    Json,
    Manifest,
    Ref,
    condition_of,
    get,
    name_of,
    ref_of,
    table,
    text,
    uid_of,
)

FOREVER = "import time\nwhile True: time.sleep(60)\n"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


async def test_a_crash_is_told_with_its_last_words_and_started_again(tmp_path: Path, repository: Repository) -> None:
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(repository.script("print('reading'); raise SystemExit('no such table: users')")))
        message = await here.waiting("CrashLoopBackOff")
        assert "exit code 1: no such table: users" in message
        pod = await until(lambda: _restarted(here, 3))
        ended = await until(lambda: _last_end(here))
        assert ended["exitCode"] == 1
        assert ended["reason"] == "Error"
        assert ended["message"] == "no such table: users"
        assert not is_ready(pod)


async def test_a_signal_is_told_as_the_shell_tells_it(tmp_path: Path, repository: Repository) -> None:
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(repository.script("import os; os.kill(os.getpid(), 11)")))
        ended = await until(lambda: _last_end(here))
        assert (ended["exitCode"], ended["signal"]) == (139, 11)


async def test_a_secret_is_not_told_by_a_crash(tmp_path: Path, repository: Repository) -> None:
    crash = "import os; raise SystemExit('cannot log in with ' + os.environ['PASSWORD'])"
    async with machine(tmp_path, repository) as here:
        await here.apply(named(SECRET, "login", data={"PASSWORD": _base64("hunter2")}))
        await here.apply(deployment(repository.script(crash), envFrom=[{"secretRef": {"name": "login"}}]))
        assert "cannot log in with ***" in await here.waiting("CrashLoopBackOff")
        assert "hunter2" not in json.dumps(await here.pods())


async def test_a_program_that_is_not_there_is_named(tmp_path: Path, repository: Repository) -> None:
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(repository.commit(), command=["no-such-program"]))
        assert "cannot start no-such-program" in await here.waiting("CrashLoopBackOff")


async def test_a_process_that_never_listens_says_so(tmp_path: Path, repository: Repository) -> None:
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(repository.script(FOREVER)))

        async def told() -> str:
            (pod,) = await until(here.pods)
            ready = condition_of(pod, "Ready")
            return text(ready, "message") if text(ready, "reason") == "NotListening" else ""

        assert re.fullmatch(r"app has not opened port \d{5} \(PORT\) after 0.3 s", await until(told))
        assert get(await here.the_pod(), "status", "phase") == "Running"


async def test_a_process_without_ports_is_ready_when_it_runs(tmp_path: Path, repository: Repository) -> None:
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(repository.script(f"import os; print(os.environ['PORT'])\n{FOREVER}"), ports=[]))
        (pod,) = await here.ready()
        assert port_of(pod, 0) >= 20000


async def test_one_that_prints_without_end_harms_nobody(tmp_path: Path, repository: Repository) -> None:
    loud = repository.script("import sys\nwhile True: sys.stdout.write('x' * 4095 + '\\n')")
    quiet = repository.server("quiet")
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(loud, name="loud", ports=[]))
        (pod,) = await here.ready("loud")
        logs = here.state / "logs" / "default" / name_of(pod)
        await true(lambda: _size(logs) > 4 * 1024 * 1024)
        await here.apply(deployment(quiet))
        assert await answer(here) == "quiet"
        assert _size(logs) < 11 * 1024 * 1024


async def test_one_that_ignores_sigterm_is_killed_after_its_grace_period(
    tmp_path: Path, repository: Repository
) -> None:
    stubborn = f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{SERVER}"
    async with machine(tmp_path, repository) as here:
        spec = {"pod": {"terminationGracePeriodSeconds": 1}}
        await here.apply(deployment(repository.script(stubborn), spec=spec))
        (pod,) = await here.ready()
        await here.cluster.delete(Ref(DEPLOYMENT, "default", "web"))
        await until(lambda: _gone(here, pod))
        assert instance.marked({instance.POD: uid_of(pod)}) == []


async def test_a_deleted_pod_may_finish_what_it_does(tmp_path: Path, repository: Repository) -> None:
    file = tmp_path / "finished"
    tidy = (
        "import signal, time\n"
        f"def finish(*_): time.sleep(0.1); open({str(file)!r}, 'w').close(); raise SystemExit\n"
        f"signal.signal(signal.SIGTERM, finish)\n{SERVER}"
    )
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(repository.script(tidy)))
        (pod,) = await here.ready()
        await here.cluster.delete(Ref(DEPLOYMENT, "default", "web"))
        await until(lambda: _gone(here, pod))
        assert file.exists()


async def test_children_and_escapees_end_with_their_pod(tmp_path: Path, repository: Repository) -> None:
    family = (
        "import os, subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-c', {FOREVER!r}])\n"
        f"subprocess.Popen([sys.executable, '-c', {FOREVER!r}], start_new_session=True)\n{SERVER}"
    )
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(repository.script(family)))
        (pod,) = await here.ready()
        processes = instance.marked({instance.POD: uid_of(pod)})
        assert len(processes) == 3
        await here.cluster.delete(Ref(DEPLOYMENT, "default", "web"))
        await until(lambda: _gone(here, pod))
        assert [process for process in processes if _runs(process)] == []


async def test_what_a_crashed_process_left_behind_ends_before_the_next_start(
    tmp_path: Path, repository: Repository
) -> None:
    family = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {FOREVER!r}], start_new_session=True)\n"
        "raise SystemExit('crash')"
    )
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(repository.script(family)))
        pod = await until(lambda: _restarted(here, 3))
        assert len(instance.marked({instance.POD: uid_of(pod)})) <= 2


async def test_a_killed_process_comes_back(tmp_path: Path, repository: Repository) -> None:
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(repository.server("one")))
        (pod,) = await here.ready()
        (process,) = instance.marked({instance.POD: uid_of(pod)})
        process.send_signal(signal.SIGKILL)
        await until(lambda: _restarted(here, 1))
        assert await answer(here) == "one"


async def test_a_stolen_port_is_replaced(tmp_path: Path, repository: Repository) -> None:
    async with machine(tmp_path, repository) as here:
        gate = tmp_path / "gate"
        once = f"import os\nif not os.path.exists({str(gate)!r}): raise SystemExit('not yet')\n"
        await here.apply(deployment(repository.script(once + SERVER)))
        await here.waiting("CrashLoopBackOff")
        stolen = port_of(await here.the_pod())
        with socket.create_server(("127.0.0.1", stolen)):
            gate.touch()
            assert await answer(here) == "VERSION"
            (pod,) = await here.ready()
            assert port_of(pod) != stolen


async def test_configuration_reaches_the_process_as_environment_and_files(
    tmp_path: Path, repository: Repository
) -> None:
    show = (
        "import json, os, pathlib\n"
        "mounts = pathlib.Path(os.environ['GREENROOM_MOUNTS'])\n"
        "files = {str(f.relative_to(mounts)): f.read_text() for f in mounts.glob('etc/*/*')}\n"
        "print(json.dumps([files, dict(os.environ)]), flush=True)\n" + FOREVER
    )
    async with machine(tmp_path, repository) as here:
        await here.apply(named(CONFIG_MAP, "settings", data={"COLOUR": "green", "motd": "hello"}))
        await here.apply(named(SECRET, "login", data={"password": _base64("hunter2")}))
        manifest = deployment(
            repository.script(show),
            spec={
                "pod": {
                    "volumes": [
                        {
                            "name": "settings",
                            "configMap": {"name": "settings", "items": [{"key": "motd", "path": "m"}]},
                        },
                        {"name": "login", "secret": {"secretName": "login"}},
                    ]
                }
            },
            ports=[],
            envFrom=[{"configMapRef": {"name": "settings"}, "prefix": "APP_"}],
            env=[
                {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}}},
                {"name": "URL", "value": "http://me:$(PASSWORD)@localhost:$(PORT)/$(UNKNOWN)"},
                {"name": "PORT", "value": "80"},
                {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            ],
            volumeMounts=[
                {"name": "settings", "mountPath": "/etc/settings"},
                {"name": "login", "mountPath": "/etc/login"},
            ],
        )
        await here.apply(manifest)
        (pod,) = await here.ready()
        files, environment = json.loads(await here.logged("}]"))
        port = port_of(pod, 0)
        assert files == {"etc/settings/m": "hello", "etc/login/password": "hunter2"}
        assert environment["APP_COLOUR"] == "green"
        assert environment["URL"] == f"http://me:hunter2@localhost:{port}/$(UNKNOWN)"
        assert environment["PORT"] == str(port)
        assert environment["NAME"] == name_of(pod)


async def test_greenrooms_own_secrets_stay_with_it(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_WEBHOOK_SECRET", "hunter2")
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(repository.script(f"import os; print(dict(os.environ), flush=True)\n{FOREVER}")))
        assert "hunter2" not in await here.logged("GREENROOM_POD")


async def test_a_missing_config_map_is_named_and_awaited(tmp_path: Path, repository: Repository) -> None:
    async with machine(tmp_path, repository) as here:
        reference = [{"configMapRef": {"name": "settings"}}]
        await here.apply(deployment(repository.server("one"), envFrom=reference))
        assert 'ConfigMap "settings" not found' in await here.waiting("CreateContainerConfigError")
        await here.apply(named(CONFIG_MAP, "settings", data={"A": "b"}))
        assert await answer(here) == "one"


async def test_init_containers_run_first_and_in_order(tmp_path: Path, repository: Repository) -> None:
    file = tmp_path / "order"
    commit = repository.server("one")
    init = [
        {"name": name, "image": image(commit), "command": ["sh", "-c", f"echo {name} >> {file}"]}
        for name in ("first", "second")
    ]
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(commit, spec={"pod": {"initContainers": init}}))
        (pod,) = await here.ready()
        assert file.read_text().split() == ["first", "second"]
        assert get(pod, "status", "initContainerStatuses", 1, "state", "terminated", "reason") == "Completed"


async def test_a_failing_init_container_holds_up_the_pod(tmp_path: Path, repository: Repository) -> None:
    commit = repository.server("one")
    init = [{"name": "migrate", "image": image(commit), "command": ["sh", "-c", "echo no database; exit 3"]}]
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(commit, spec={"pod": {"initContainers": init}}))
        assert "exit code 3: no database" in await here.waiting("CrashLoopBackOff")
        pod = await here.the_pod()
        assert get(pod, "status", "phase") == "Pending"
        assert "waiting" in state_of(pod)


async def test_a_bare_pod_that_has_succeeded_is_not_run_again(tmp_path: Path, repository: Repository) -> None:
    file = tmp_path / "runs"
    container = {"name": "job", "image": image(repository.commit()), "command": ["sh", "-c", f"echo run >> {file}"]}
    async with machine(tmp_path, repository) as here:
        await here.apply(named(POD, "job", spec={"restartPolicy": "Never", "containers": [container]}))
        await until(lambda: _phase(here, "Succeeded"))
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(repository.server("one")))
        await here.ready()
        assert file.read_text() == "run\n"


@pytest.mark.parametrize(
    "probe",
    [
        {"httpGet": {"path": "/health", "port": 80}},
        {"httpGet": {"path": "health", "port": "web"}},
        {"tcpSocket": {"port": "web"}},
        {"exec": {"command": ["sh", "-c", "test -e healthy"]}},
    ],
    ids=["http", "http by name", "tcp", "exec"],
)
async def test_a_pod_is_ready_when_its_probe_says_so(tmp_path: Path, repository: Repository, probe: Json) -> None:
    server = "open('healthy', 'w').close()\n" + SERVER
    ports: Json = [{"name": "web", "containerPort": 80}]
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(repository.script(server), ports=ports, readinessProbe=probe))
        assert await answer(here) == "VERSION"


async def test_a_pod_that_is_not_ready_any_more_says_so(tmp_path: Path, repository: Repository) -> None:
    switch = tmp_path / "switch"
    switch.touch()
    probe: Json = {"exec": {"command": ["test", "-e", str(switch)]}, "periodSeconds": 1, "failureThreshold": 1}
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(repository.server("one"), readinessProbe=probe))
        await here.ready()
        switch.unlink()
        await here.ready(count=0)
        switch.touch()
        (pod,) = await here.ready()
        assert restarts(pod) == 0


async def test_a_process_that_hangs_is_started_again_by_its_liveness_probe(
    tmp_path: Path, repository: Repository
) -> None:
    probe: Json = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(repository.server("one"), livenessProbe=probe))
        assert "liveness probe failed" in await here.waiting("CrashLoopBackOff")


async def test_a_startup_probe_holds_back_the_others(tmp_path: Path, repository: Repository) -> None:
    switch = tmp_path / "switch"
    startup: Json = {"exec": {"command": ["test", "-e", str(switch)]}, "periodSeconds": 10, "failureThreshold": 3}
    liveness: Json = {"exec": {"command": ["test", "-e", str(switch)]}, "periodSeconds": 1, "failureThreshold": 1}
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(repository.server("one"), startupProbe=startup, livenessProbe=liveness))
        pod = await until(lambda: _is_running(here))
        assert fetch_or_nothing(pod) in ("", "one")
        assert not is_ready(pod)
        switch.touch()
        (pod,) = await here.ready()
        assert restarts(pod) == 0


async def test_a_probe_that_cannot_be_done_is_named(tmp_path: Path, repository: Repository) -> None:
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(repository.server("one"), readinessProbe={"grpc": {"port": 80}}))
        message = await here.waiting("CreateContainerConfigError")
        assert message == "readinessProbe: one machine can do httpGet, tcpSocket and exec only"


async def test_two_containers_share_a_pod(tmp_path: Path, repository: Repository) -> None:
    commit = repository.server("one")
    containers: Json = [
        {"name": "web", "image": image(commit), "ports": [{"containerPort": 80}]},
        {"name": "admin", "image": image(commit), "ports": [{"containerPort": 81}]},
    ]
    async with machine(tmp_path, repository) as here:
        await here.apply(named(POD, "pair", spec={"containers": containers}))
        pod = await until(lambda: _ready_pod(here, "pair"))
        assert fetch(port_of(pod, 80)) == fetch(port_of(pod, 81)) == "one"


async def test_containers_that_declare_no_port_do_not_share_one(tmp_path: Path, repository: Repository) -> None:
    show = repository.script(f"import os\nprint('port', os.environ.get('PORT'), flush=True)\n{FOREVER}")
    containers: Json = [{"name": name, "image": image(show)} for name in ("first", "second")]
    async with machine(tmp_path, repository) as here:
        await here.apply(named(POD, "pair", spec={"containers": containers}))
        pod = await until(lambda: _ready_pod(here, "pair"))

        async def told() -> list[str]:
            logs = [await here.log(pod, "first"), await here.log(pod, "second")]
            return logs if all(logs) else []

        assert await until(told) == [f"port {port_of(pod, 0)}\n", "port None\n"]


async def test_a_template_that_cannot_work_makes_no_crowd_of_pods(tmp_path: Path, repository: Repository) -> None:
    commit = repository.commit(Procfile="web: true")
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(commit, name="ends", spec={"pod": {"restartPolicy": "Never"}}))
        empty = deployment(commit, name="empty")
        spec = {**table(empty, "spec"), "template": {"metadata": {"labels": {"app": "empty"}}, "spec": {}}}
        await here.apply({**empty, "spec": spec})
        await here.waiting("CrashLoopBackOff", "ends")
        pod = await here.the_pod("empty")
        assert await here.log(pod) == ""
        await until(lambda: _says(here, "the pod has no containers"))
        assert len(await here.pods()) == 2


async def test_logs_can_be_read_and_followed(tmp_path: Path, repository: Repository) -> None:
    count = "import itertools, time\nfor n in itertools.count(): print('line', n, flush=True); time.sleep(0.01)"
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(repository.script(count), ports=[]))
        (pod,) = await here.ready()
        await here.logged("line 20\n")
        assert len((await here.log(pod, tail=3)).splitlines()) == 3
        followed = b""
        async for chunk in here.workloads.logs("default", name_of(pod), "app", follow=True, tail=None):
            followed += chunk
            if b"line 30\n" in followed and here.informers.get(Ref(DEPLOYMENT, "default", "web")):
                await here.cluster.delete(Ref(DEPLOYMENT, "default", "web"))
        lines = followed.decode().split("\n")[:31]
        assert lines == [f"line {number}" for number in range(31)]


async def test_the_log_of_nothing_is_not_found(tmp_path: Path, repository: Repository) -> None:
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(repository.server("one")))
        (pod,) = await here.ready()
        with pytest.raises(NotFound, match='"gone" not found'):
            await here.log(named(POD, "gone"))
        with pytest.raises(NotFound, match="container other is not valid"):
            await here.log(pod, "other")


async def test_a_pod_deleted_by_force_ends_too(tmp_path: Path, repository: Repository) -> None:
    async with machine(tmp_path, repository) as here:
        await here.apply(deployment(repository.server("one")))
        (pod,) = await here.ready()
        await here.cluster.delete(ref_of(pod), grace_seconds=0)
        await true(lambda: not instance.marked({instance.POD: uid_of(pod)}))
        (replacement,) = await here.ready()
        assert uid_of(replacement) != uid_of(pod)


async def _restarted(here: Machine, times: int) -> Manifest | None:
    pods = await here.pods()
    return next((pod for pod in pods if int(str(restarts(pod) or 0)) >= times), None)


async def _last_end(here: Machine) -> Manifest | None:
    pods = await here.pods()
    return last_end(pods[0]) if pods else None


async def _says(here: Machine, message: str) -> bool:
    return any(text(condition_of(pod, "Ready"), "message") == message for pod in await here.pods())


async def _gone(here: Machine, pod: Manifest) -> bool:
    return uid_of(pod) not in {uid_of(each) for each in await here.pods()}


async def _phase(here: Machine, phase: str) -> bool:
    return any(text(pod, "status", "phase") == phase for pod in await here.pods())


async def _is_running(here: Machine) -> Manifest | None:
    return next((pod for pod in await here.pods() if "running" in state_of(pod)), None)


async def _ready_pod(here: Machine, name: str) -> Manifest | None:
    return next((pod for pod in await here.pods() if name_of(pod) == name and is_ready(pod)), None)


def fetch_or_nothing(pod: Manifest) -> str:
    try:
        return fetch(port_of(pod))
    except OSError:
        return ""


def _base64(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*"))


def _runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
