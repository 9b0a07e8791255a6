"""Kubeconfigs as people have them: several files, several contexts, and what cannot be used."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from greenroom.adapters.kube_connection import Connection
from greenroom.adapters.kube_credentials import Credential
from greenroom.adapters.kubeconfig import load
from greenroom.model.errors import InvalidInput

AUTHORITY = """\
-----BEGIN CERTIFICATE-----
MIIBijCCAS+gAwIBAgIULAxnmDDvGXvm7VJ7zn7Aa55AQ2UwCgYIKoZIzj0EAwIw
GTEXMBUGA1UEAwwOdGVzdCBhdXRob3JpdHkwIBcNMjYxMTIzMjEyNzUwWhgPMjEy
NjEwMzAyMTI3NTBaMBkxFzAVBgNVBAMMDnRlc3QgYXV0aG9yaXR5MFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAEVXDRGwpuhJa46T65ll8KbCPY4ZleLA7zA2QZ3NDZ
7NEGJchm6zVQUTvJdwTqFgUp1tdL3D1JTWsONQ5SnJfvpKNTMFEwHQYDVR0OBBYE
FLEjFyQPQcjEsDSvQGb5MdnnepUOMB8GA1UdIwQYMBaAFLEjFyQPQcjEsDSvQGb5
MdnnepUOMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhAP96TSv7
9o6A5wOCtB2TFAV6vGRUx/IdDVQt7p+OWBarAiEA7W9o2otQ+9gRoQRqhHqcqW2K
kjWkjAcCR/WGtdvRXrw=
-----END CERTIFICATE-----
"""
SERVER = "https://127.0.0.1:6443"


def written(folder: Path, name: str = "config", **changes: Any) -> Path:
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "n"}}],
        "clusters": clusters(),
        "users": users(token="secret-token"),
    } | changes
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(yaml.safe_dump(config))
    return path


def clusters(**fields: Any) -> list[dict[str, Any]]:
    return [{"name": "k", "cluster": {"server": SERVER} | fields}]


def users(**fields: Any) -> list[dict[str, Any]]:
    return [{"name": "u", "user": fields}]


def plugin(**fields: Any) -> list[dict[str, Any]]:
    return users(exec={"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable} | fields)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


# One file


def test_the_current_context_is_used(tmp_path: Path) -> None:
    assert load(written(tmp_path)) == Connection(SERVER, Credential("secret-token"), namespace="n")


def test_another_context_can_be_named(tmp_path: Path) -> None:
    contexts = [
        {"name": "c", "context": {"cluster": "k", "user": "u"}},
        {"name": "other", "context": {"cluster": "k", "user": "u", "namespace": "elsewhere"}},
    ]
    path = written(tmp_path, contexts=contexts, **{"current-context": ""})
    assert load(path, context="other").namespace == "elsewhere"


def test_a_server_may_live_below_a_path(tmp_path: Path) -> None:
    path = written(tmp_path, clusters=clusters(server="http://127.0.0.1:8080/prefix/"))
    assert load(path).server == "http://127.0.0.1:8080/prefix"


def test_a_context_needs_neither_namespace_nor_user(tmp_path: Path) -> None:
    contexts = [{"name": "c", "context": {"cluster": "k"}}]
    assert load(written(tmp_path, contexts=contexts)) == Connection(SERVER)


def test_how_to_reach_a_server_is_read(tmp_path: Path) -> None:
    fields = {
        "certificate-authority-data": encoded(AUTHORITY),
        "tls-server-name": "kubernetes",
        "proxy-url": "http://me:hush@proxy.example:3128",
    }
    connection = load(written(tmp_path, clusters=clusters(**fields)))
    assert connection == Connection(
        SERVER,
        Credential("secret-token"),
        authority=AUTHORITY,
        namespace="n",
        server_name="kubernetes",
        proxy="http://me:hush@proxy.example:3128",
    )
    assert "hush" not in repr(connection)
    assert "secret-token" not in repr(connection)


def test_verification_can_be_switched_off(tmp_path: Path) -> None:
    assert not load(written(tmp_path, clusters=clusters(**{"insecure-skip-tls-verify": True}))).verify
    assert load(written(tmp_path, clusters=clusters(**{"insecure-skip-tls-verify": False}))).verify


def test_who_is_impersonated_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, users=users(**{"token": "t", "as": "system:serviceaccount:a:b"}))
    assert load(path).impersonate == "system:serviceaccount:a:b"


async def test_files_are_found_beside_the_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(
        tmp_path / "folder",
        clusters=clusters(**{"certificate-authority": "ca.pem"}),
        users=users(tokenFile="token"),
    )
    (path.parent / "ca.pem").write_text(AUTHORITY)
    (path.parent / "token").write_text("from-the-file\n")
    monkeypatch.chdir(tmp_path)
    connection = load(Path("folder/config"))
    monkeypatch.chdir("/")
    assert connection.authority == AUTHORITY
    assert await connection.credentials.current() == Credential("from-the-file")


async def test_data_wins_over_a_file_and_a_tokens_file_over_a_token(tmp_path: Path) -> None:
    fields = {"certificate-authority-data": encoded(AUTHORITY), "certificate-authority": "missing.pem"}
    (tmp_path / "token").write_text("newer")
    path = written(tmp_path, clusters=clusters(**fields), users=users(token="older", tokenFile="token"))
    assert load(path).authority == AUTHORITY
    assert await load(path).credentials.current() == Credential("newer")


async def test_a_token_wins_over_an_exec_plugin(tmp_path: Path) -> None:
    path = written(tmp_path, users=users(token="t", exec=plugin()[0]["user"]["exec"]))
    assert await load(path).credentials.current() == Credential("t")


# Exec plugins


async def test_an_exec_plugin_is_called_as_it_is_written(tmp_path: Path) -> None:
    """The plugin prints what it was given as its token, so that the test can see it."""
    script = (
        "import base64, json, os, sys\n"
        "seen = [sys.argv[1:], os.environ['AWS_PROFILE'], json.loads(os.environ['KUBERNETES_EXEC_INFO'])]\n"
        "token = base64.b64encode(json.dumps(seen).encode()).decode()\n"
        "answer = {'apiVersion': seen[2]['apiVersion'], 'kind': 'ExecCredential', 'status': {'token': token}}\n"
        "print(json.dumps(answer))\n"
    )
    (tmp_path / "plugin.py").write_text(script)
    fields = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "args": [str(tmp_path / "plugin.py"), "eks", "get-token"],
        "env": [{"name": "AWS_PROFILE", "value": "pr-env"}],
        "interactiveMode": "IfAvailable",
        "provideClusterInfo": True,
    }
    extensions = [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}]
    path = written(
        tmp_path,
        clusters=clusters(extensions=extensions, **{"certificate-authority-data": encoded(AUTHORITY)}),
        users=plugin(**fields),
    )
    shown = await load(path).credentials.current()
    assert json.loads(base64.b64decode(shown.token)) == [
        ["eks", "get-token"],
        "pr-env",
        {
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "kind": "ExecCredential",
            "spec": {
                "interactive": False,
                "cluster": {
                    "server": SERVER,
                    "certificate-authority-data": encoded(AUTHORITY),
                    "config": {"audience": "x"},
                },
            },
        },
    ]


async def test_a_plugin_with_a_path_is_found_beside_the_kubeconfig(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "plugin"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\necho \'{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential",'
        '"status":{"token":"found"}}\'\n'
    )
    program.chmod(0o700)
    path = written(tmp_path, users=plugin(command="bin/plugin"))
    assert await load(path).credentials.current() == Credential("found")


# Several files


def test_the_first_file_to_name_something_wins_whole(tmp_path: Path) -> None:
    first = written(
        tmp_path / "a",
        contexts=[{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        clusters=[],
        users=users(token="first"),
    )
    second = written(tmp_path / "b", users=users(token="second", **{"as": "somebody"}), **{"current-context": "x"})
    assert load(first, second) == Connection(SERVER, Credential("first"))


def test_the_current_context_is_that_of_the_first_file_that_has_one(tmp_path: Path) -> None:
    first = written(tmp_path / "a", contexts=[], clusters=[], users=[], **{"current-context": ""})
    assert load(first, written(tmp_path / "b")).namespace == "n"


async def test_paths_are_relative_to_the_file_they_stand_in(tmp_path: Path) -> None:
    first = written(tmp_path / "a", users=[])
    second = written(tmp_path / "b", users=users(tokenFile="token"))
    (tmp_path / "b" / "token").write_text("from-b")
    assert await load(first, second).credentials.current() == Credential("from-b")


def test_missing_files_are_skipped_unless_all_are(tmp_path: Path) -> None:
    assert load(tmp_path / "none", written(tmp_path)).server == SERVER
    with pytest.raises(InvalidInput, match="there is no such kubeconfig"):
        load(tmp_path / "none", tmp_path / "neither")


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    assert load(tmp_path / "empty", written(tmp_path)).server == SERVER


# What cannot be used


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"current-context": ""}, "current-context: is missing"),
        ({"current-context": "x"}, "contexts: there is no context called 'x'"),
        ({"contexts": [{"name": "c", "context": {}}]}, "contexts[].context.cluster: is missing"),
        ({"clusters": []}, "clusters: there is no cluster called 'k'"),
        ({"clusters": clusters() * 2}, "clusters: there are two called 'k'"),
        ({"clusters": clusters(server="127.0.0.1:6443")}, "clusters[].cluster.server"),
        ({"clusters": clusters(server="https://me:hush@[::1")}, "clusters[].cluster.server"),
        ({"clusters": clusters(server="https://me:hush@127.0.0.1")}, "server: carries a user or a password"),
        ({"clusters": clusters(server="https://hush@127.0.0.1")}, "server: carries a user or a password"),
        ({"clusters": clusters(server="https://:hush@127.0.0.1")}, "server: carries a user or a password"),
        (
            {
                "clusters": clusters(
                    **{"insecure-skip-tls-verify": True, "certificate-authority-data": encoded(AUTHORITY)}
                )
            },
            "insecure-skip-tls-verify: contradicts certificate-authority",
        ),
        ({"clusters": clusters(**{"proxy-url": "socks5://hush@proxy"})}, "proxy-url: is a SOCKS proxy"),
        ({"clusters": clusters(**{"proxy-url": "ftp://hush@proxy"})}, "proxy-url: is no http or https URL"),
        ({"clusters": clusters(**{"certificate-authority": "no.pem"})}, "certificate-authority: is no readable"),
        ({"clusters": clusters(**{"certificate-authority-data": "%"})}, "certificate-authority-data: is no readable"),
        ({"clusters": clusters(**{"certificate-authority-data": encoded("x")})}, "authority-data: is no readable"),
        ({"users": []}, "users: there is no user called 'u'"),
        ({"users": users(username="u", password="hush")}, "users[].user.username: is not supported"),
        ({"users": users(**{"auth-provider": {"name": "gcp"}})}, "users[].user.auth-provider: is not supported"),
        ({"users": users(**{"as-groups": ["g"]})}, "users[].user.as-groups: is not supported"),
        ({"users": users(token="hush\nb")}, "users[].user.token"),
        ({"users": users(tokenFile="none")}, "users[].user.tokenFile"),
        ({"users": users(**{"client-certificate": "c.pem"})}, "users[].user.client-key: is missing"),
        ({"users": users(**{"client-key-data": encoded("hush")})}, "users[].user.client-certificate: is missing"),
        (
            {"users": users(**{"client-certificate-data": encoded("x"), "client-key-data": encoded("hush")})},
            "users[].user.client-certificate: and client-key do not make",
        ),
        (
            {"users": users(**{"client-certificate": "c.pem", "exec": plugin()[0]["user"]["exec"]})},
            "users[].user.exec: cannot be used together",
        ),
        ({"users": plugin(apiVersion="")}, "users[].user.exec.apiVersion: is missing"),
        ({"users": plugin(apiVersion="client.authentication.k8s.io/v1alpha1")}, "apiVersion: client.authentication"),
        ({"users": plugin(interactiveMode="Always")}, "users[].user.exec.interactiveMode"),
        ({"users": plugin(command="")}, "users[].user.exec.command: is missing"),
        (
            {"users": plugin(command="no-such-program", installHint="Install the AWS CLI.")},
            "command: there is no program 'no-such-program' (Install the AWS CLI.)",
        ),
    ],
)
def test_an_unusable_kubeconfig_names_its_field(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(InvalidInput) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there is no such kubeconfig"):
        load(tmp_path / "none")


@pytest.mark.parametrize("content", ["token: secret-token: x", "[", "just text", "", "\x00"])
def test_a_file_that_is_no_kubeconfig_is_refused_without_quoting_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(InvalidInput) as caught:
        load(path)
    assert "secret-token" not in str(caught.value)
