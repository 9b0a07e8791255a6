"""What a user sees of a kubeconfig that cannot be used."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from greenroom.adapters.kubeconfig import Connection, load
from greenroom.model.errors import InvalidInput


def written(folder: Path, **changes: Any) -> Path:
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "n"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:6443/"}}],
        "users": [{"name": "u", "user": {"token": "secret-token"}}],
    } | changes
    path = folder / "config"
    path.write_text(yaml.safe_dump(config))
    return path


def clusters(**fields: Any) -> list[dict[str, Any]]:
    return [{"name": "k", "cluster": {"server": "https://127.0.0.1:6443"} | fields}]


def users(**fields: Any) -> list[dict[str, Any]]:
    return [{"name": "u", "user": fields}]


def test_the_current_context_is_used(tmp_path: Path) -> None:
    assert load(written(tmp_path)) == Connection("https://127.0.0.1:6443", "secret-token", "", "n")


def test_a_server_may_live_below_a_path(tmp_path: Path) -> None:
    path = written(tmp_path, clusters=clusters(server="http://127.0.0.1:8080/prefix/"))
    assert load(path).server == "http://127.0.0.1:8080/prefix"


def test_a_context_without_namespace_means_default(tmp_path: Path) -> None:
    contexts = [{"name": "c", "context": {"cluster": "k"}}]
    assert load(written(tmp_path, contexts=contexts)) == Connection("https://127.0.0.1:6443", "", "", "default")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"current-context": ""}, "current-context: is missing"),
        ({"current-context": "x"}, "contexts: there is no context called 'x'"),
        ({"clusters": []}, "clusters: there is no cluster called 'k'"),
        ({"clusters": clusters(server="127.0.0.1:6443")}, "clusters[].cluster.server"),
        ({"clusters": clusters(server="https://me:hush@[::1")}, "clusters[].cluster.server"),
        ({"clusters": clusters(server="https://me:hush@127.0.0.1")}, "server: carries a user or a password"),
        ({"clusters": clusters(server="https://hush@127.0.0.1")}, "server: carries a user or a password"),
        ({"clusters": clusters(server="https://:hush@127.0.0.1")}, "server: carries a user or a password"),
        ({"clusters": clusters(**{"insecure-skip-tls-verify": True})}, "insecure-skip-tls-verify: is not supported"),
        ({"clusters": clusters(**{"certificate-authority": "no.pem"})}, "certificate-authority: is no readable"),
        ({"clusters": clusters(**{"certificate-authority-data": "%"})}, "certificate-authority-data: is no readable"),
        (
            {"clusters": clusters(**{"certificate-authority-data": base64.b64encode(b"x").decode()})},
            "certificate-authority-data: is no readable",
        ),
        ({"users": users(exec={"command": "aws"})}, "users[].user.exec: is not supported"),
        ({"users": users(token="a\nb")}, "users[].user.token"),
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
