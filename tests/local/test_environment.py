"""What a container is told: variables, ports, files."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.local.workloads.environment import ConfigError, Environment, Lookup, environment, expand
from greenroom.local.workloads.mounts import MOUNTS, mount
from greenroom.model.manifest import CONFIG_MAP, SECRET, Json, Manifest, Ref

POD: Manifest = {
    "metadata": {
        "name": "web-1",
        "namespace": "shop",
        "uid": "a-uid",
        "labels": {"app": "web"},
        "annotations": {"greenroom.dev/commit": "abc"},
    },
    "spec": {"serviceAccountName": "web"},
}
PORTS = {80: 20001, 9090: 20002}


def lookup(**objects: Mapping[str, Json]) -> Lookup:
    """ConfigMaps by name; a name that begins with ``secret`` is a Secret."""
    known = {
        Ref(SECRET if name.startswith("secret") else CONFIG_MAP, "shop", name): fields
        for name, fields in objects.items()
    }
    return known.get


def made(container: Json, **objects: Mapping[str, Json]) -> Environment:
    return environment(POD, container, PORTS, lookup(**objects))


def encoded(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


@pytest.mark.parametrize(
    ("value", "expanded"),
    [
        ("$(A)", "one"),
        ("x$(A)y$(B)z", "xoneytwoz"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$one"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(A", "$(A"),
        ("$()", "$()"),
    ],
)
def test_references_are_expanded_as_kubernetes_expands_them(value: str, expanded: str) -> None:
    assert expand(value, {"A": "one", "B": "two"}) == expanded


@given(st.text(), st.text())
def test_a_value_is_expanded_once(value: str, inner: str) -> None:
    assert expand("$(A)", {"A": inner, "B": value}) == inner


def test_a_variable_may_use_those_before_it() -> None:
    env: Json = [
        {"name": "HOST", "value": "db"},
        {"name": "URL", "value": "http://$(HOST)/$(LATER)"},
        {"name": "LATER", "value": "x"},
    ]
    assert made({"env": env}).variables["URL"] == "http://db/$(LATER)"


def test_the_port_to_listen_on_cannot_be_overridden() -> None:
    container: Json = {
        "ports": [{"name": "http", "containerPort": 80}, {"name": "my-metrics", "containerPort": 9090}],
        "env": [{"name": "PORT", "value": "80"}, {"name": "LISTEN", "value": ":$(PORT)"}],
    }
    assert dict(made(container).variables) == {
        "PORT": "20001",
        "PORT_HTTP": "20001",
        "PORT_MY_METRICS": "20002",
        "LISTEN": ":20001",
    }


def test_env_comes_after_env_from_and_a_later_source_wins() -> None:
    container: Json = {
        "envFrom": [
            {"configMapRef": {"name": "one"}},
            {"configMapRef": {"name": "two"}},
            {"configMapRef": {"name": "none", "optional": True}},
            {"secretRef": {"name": "secret"}, "prefix": "S_"},
        ],
        "env": [{"name": "C", "value": "env"}],
    }
    objects: dict[str, Mapping[str, Json]] = {
        "one": {"data": {"A": "1", "B": "1", "C": "1"}},
        "two": {"data": {"B": "2", "C": "2"}},
        "secret": {"data": {"KEY": encoded("hidden")}},
    }
    found = made(container, **objects)
    assert dict(found.variables) == {"A": "1", "B": "2", "C": "env", "S_KEY": "hidden"}
    assert found.secrets == {"hidden"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "web-1"),
        ("metadata.namespace", "shop"),
        ("metadata.uid", "a-uid"),
        ("metadata.labels['app']", "web"),
        ("metadata.annotations['greenroom.dev/commit']", "abc"),
        ("metadata.labels['none']", ""),
        ("status.podIP", "127.0.0.1"),
        ("spec.serviceAccountName", "web"),
    ],
)
def test_a_pod_knows_itself(path: str, value: str) -> None:
    container: Json = {"env": [{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}}]}
    assert made(container).variables["X"] == value


@pytest.mark.parametrize(
    ("container", "told"),
    [
        ({"envFrom": [{"configMapRef": {"name": "none"}}]}, 'ConfigMap "none" not found'),
        (
            {"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k"}}}]},
            'Secret "none" not found',
        ),
        (
            {"env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "one", "key": "k"}}}]},
            'couldn\'t find key "k" in ConfigMap "one"',
        ),
        ({"env": [{"name": "X", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]}, "resourceFieldRef"),
        ({"env": [{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]}, "spec.nodeName"),
        ({"envFrom": [{"secretRef": {"name": "secret"}}]}, 'key "bad" of Secret "secret" is not base64'),
    ],
)
def test_what_is_missing_is_named(container: Json, told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        made(container, one={"data": {}}, secret={"data": {"bad": "§"}})
    assert told in str(raised.value)
    assert "§" not in str(raised.value)


def test_what_is_optional_may_be_missing() -> None:
    reference: Json = {"name": "none", "key": "k", "optional": True}
    assert dict(made({"env": [{"name": "X", "valueFrom": {"configMapKeyRef": reference}}]}).variables) == {}


def test_a_secret_is_scrubbed_line_by_line_and_never_shown() -> None:
    found = Environment({}, frozenset({"hunter2", "begin\nkey material\nend", "hunter2000"}))
    assert found.scrub("password hunter2000, not hunter2; key material") == "password ***, not ***; ***"
    assert "hunter2" not in repr(found)


def test_volumes_are_found_below_the_mounts_folder(tmp_path: Path) -> None:
    volumes: Json = [
        {"name": "config", "configMap": {"name": "one"}},
        {"name": "login", "secret": {"secretName": "secret", "items": [{"key": "KEY", "path": "deep/key"}]}},
        {"name": "cache", "emptyDir": {}},
    ]
    container: Json = {
        "name": "app",
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/app"},
            {"name": "config", "mountPath": "/etc/motd", "subPath": "motd"},
            {"name": "login", "mountPath": "/run/login"},
            {"name": "cache", "mountPath": "/etc/app/cache"},
        ],
    }
    objects = lookup(one={"data": {"motd": "hello"}}, secret={"data": {"KEY": encoded("hidden")}})
    pod = {**POD, "spec": {"volumes": volumes}}
    root = Path(mount(pod, container, tmp_path, objects)[MOUNTS])
    assert (root / "etc/app/motd").read_text() == "hello"
    assert (root / "etc/motd").read_text() == "hello"
    assert (root / "run/login/deep/key").read_text() == "hidden"
    assert (root / "run/login/deep/key").stat().st_mode & 0o077 == 0
    (root / "etc/app/cache/file").write_text("kept")

    changed = lookup(one={"data": {"motd": "changed"}}, secret={"data": {"KEY": encoded("hidden")}})
    again = Path(mount(pod, container, tmp_path, changed)[MOUNTS])
    assert (again / "etc/app/motd").read_text() == "changed"
    assert (again / "etc/app/cache/file").read_text() == "kept"


@pytest.mark.parametrize(
    ("volume", "mounted", "told"),
    [
        ({"name": "v", "emptyDir": {}}, {"name": "v", "mountPath": "/../../up"}, "leads out"),
        ({"name": "v", "emptyDir": {}}, {"name": "v", "mountPath": "/a", "subPath": "../up"}, "leads out"),
        ({"name": "v", "emptyDir": {}}, {"name": "v", "mountPath": "/a", "subPath": "/etc"}, "leads out"),
        ({"name": "../v", "emptyDir": {}}, {"name": "../v", "mountPath": "/a"}, "not a valid name"),
        ({"name": "v", "hostPath": {"path": "/etc"}}, {"name": "v", "mountPath": "/a"}, "no volumes of kind hostPath"),
        ({"name": "v", "configMap": {"name": "none"}}, {"name": "v", "mountPath": "/a"}, 'ConfigMap "none" not found'),
        ({"name": "v", "configMap": {"name": "evil"}}, {"name": "v", "mountPath": "/a"}, "leads out"),
        ({"name": "v", "emptyDir": {}}, {"name": "w", "mountPath": "/a"}, "names no volume"),
    ],
)
def test_a_mount_that_cannot_be_made_is_refused(tmp_path: Path, volume: Json, mounted: Json, told: str) -> None:
    pod = {**POD, "spec": {"volumes": [volume]}}
    container: Json = {"name": "app", "volumeMounts": [mounted]}
    with pytest.raises(ConfigError, match=told):
        mount(pod, container, tmp_path / "pod", lookup(evil={"data": {"../../evil": "x"}}))
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []
