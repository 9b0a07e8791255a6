"""`greenroom cleanup`: what scripts read, what a person reads, the variables of the published job, the exit codes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.cli.terminal import NAME_SPACE, Terminal, terminal
from tests.flows.world import deployment, pr_object

from greenroom.core.cleanup import HASH_LABEL
from greenroom.model.manifest import POD, PR, Manifest, Ref, name_of, owner_reference

HASH = "5f7d"


async def made(person: Terminal, number: int, reason: str = "ImagePullBackOff") -> None:
    """An environment with a pod that waits for this."""
    name = f"pr{number}"
    pr = await applied(person, pr_object(number=number))
    web = await applied(person, deployment(name), pr)
    replica_set = await applied(person, {**deployment(f"{name}-{HASH}"), "kind": "ReplicaSet"}, web)
    metadata = {"name": f"{name}-x", "labels": {"app": name, HASH_LABEL: HASH}}
    spec = {"containers": [{"name": "app", "image": "shop:1"}]}
    await applied(person, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}, replica_set)
    status: Manifest = {"containerStatuses": [{"name": "app", "state": {"waiting": {"reason": reason}}}]}
    await person.store.patch_status(Ref(POD, NAME_SPACE, f"{name}-x"), status)


async def applied(person: Terminal, manifest: Any, owner: Manifest | None = None) -> Manifest:
    owners = {"ownerReferences": [owner_reference(owner)]} if owner else {}
    metadata = {**manifest["metadata"], "namespace": NAME_SPACE, **owners}
    return await person.store.apply({**manifest, "metadata": metadata}, manager="test")


async def clean(person: Terminal, *options: str, **variables: str) -> tuple[int, str, str]:
    kubeconfig = ("--kubeconfig", str(person.state.kubeconfig))
    return await person.run("cleanup", *kubeconfig, *options, **variables)


async def prs(person: Terminal) -> list[str]:
    return sorted(map(name_of, (await person.store.list(PR)).items))


async def test_a_job_with_the_published_variables(tmp_path: Path) -> None:
    async with terminal(tmp_path) as person:
        for number in (7, 8):
            await made(person, number)
        await made(person, 9, "CrashLoopBackOff")
        code, output, errors = await clean(person, NAMESPACE=NAME_SPACE, AGE="0")
        assert (code, output) == (0, "Deleted pr: shop-pr7\nDeleted pr: shop-pr8\n")
        assert errors == (
            "3 pods in pr-env, 2 of them without an image and at least 0 minutes old: "
            "2 PRs deleted, 0 left alone, 0 errors\n"
        )
        assert await prs(person) == ["shop-pr9"]


async def test_where_nothing_is_set_it_looks_where_the_published_program_did(tmp_path: Path) -> None:
    async with terminal(tmp_path) as person:
        await made(person, 7)
        code, output, errors = await clean(person, NAMESPACE="", AGE="")
        assert (code, output) == (0, "")
        assert errors == (
            "1 pod in pr-env, 0 of them without an image and at least 100 minutes old: "
            "0 PRs deleted, 0 left alone, 0 errors\n"
        )


async def test_options_come_before_variables_and_a_dry_run_deletes_nothing(tmp_path: Path) -> None:
    async with terminal(tmp_path) as person:
        await made(person, 7)
        options = ("--dry-run", "--namespace", NAME_SPACE, "--age", "0")
        code, output, errors = await clean(person, *options, NAMESPACE="elsewhere", AGE="600")
        assert (code, output) == (0, "Would delete pr: shop-pr7\n")
        assert errors.endswith(": 1 PR would be deleted, 0 left alone, 0 errors\n")
        assert await prs(person) == ["shop-pr7"]


async def test_what_is_left_is_told_apart_from_the_output_of_the_published_program(tmp_path: Path) -> None:
    async with terminal(tmp_path) as person:
        await made(person, 7)
        stray = {**deployment("stray"), "kind": "Pod", "apiVersion": "v1"}
        stray["spec"] = {"containers": [{"name": "app", "image": "shop:1"}]}
        await applied(person, stray)
        status: Manifest = {"containerStatuses": [{"name": "app", "state": {"waiting": {"reason": "ErrImagePull"}}}]}
        await person.store.patch_status(Ref(POD, NAME_SPACE, "stray"), status)
        code, output, errors = await clean(person, AGE="0")
        assert (code, output) == (0, "Deleted pr: shop-pr7\n")
        assert errors.splitlines()[0] == "pod stray left alone: no ReplicaSet owns Pod/stray"


@pytest.mark.parametrize("age", ["soon", "-1", "1.5", "99999999999"])
async def test_a_wrong_age_names_the_variable_and_deletes_nothing(tmp_path: Path, age: str) -> None:
    async with terminal(tmp_path) as person:
        await made(person, 7)
        code, output, errors = await clean(person, AGE=age)
        assert (code, output) == (2, "")
        assert f"(env var: 'AGE'): {age!r}" in errors.replace(f"{age} is not in", f"{age!r} is not in")
        assert await prs(person) == ["shop-pr7"]


@pytest.mark.parametrize("namespace", ["", "a/b", ".."])
async def test_a_wrong_namespace_is_never_all_of_them(tmp_path: Path, namespace: str) -> None:
    async with terminal(tmp_path) as person:
        await made(person, 7)
        code, output, _ = await clean(person, "--namespace", namespace, "--age", "0")
        assert (code != 0, output) == (True, "")
        assert await prs(person) == ["shop-pr7"]


async def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    async with terminal(tmp_path) as person:
        code, output, errors = await person.run("cleanup", "--kubeconfig", str(tmp_path / "none"))
        assert (code, output) == (1, "")
        assert errors.startswith(f"greenroom: {tmp_path / 'none'}: ")


async def test_it_uses_the_kubeconfig_of_the_home_folder_even_in_a_pod(tmp_path: Path) -> None:
    async with terminal(tmp_path) as person:
        await made(person, 7)
        home = tmp_path / "home" / ".kube" / "config"
        home.parent.mkdir(parents=True)
        home.write_bytes(await asyncio.to_thread(person.state.kubeconfig.read_bytes))
        pod = {"KUBERNETES_SERVICE_HOST": "192.0.2.1", "KUBERNETES_SERVICE_PORT": "443", "KUBECONFIG": ""}
        code, output, _ = await person.run("cleanup", AGE="0", HOME=str(tmp_path / "home"), **pod)
        assert (code, output) == (0, "Deleted pr: shop-pr7\n")
