"""What the cluster does not keep of a template is told by its path, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from greenroom.core.unkept import unkept


def pod(container: Any, **fields: Any) -> dict[str, Any]:
    container = {"name": "app", **container}
    spec = {"containers": [container], **fields}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec}


A1, A2 = {"name": "A", "value": "1"}, {"name": "A", "value": "2"}


@pytest.mark.parametrize(
    ("rendered", "stored", "path"),
    [
        (pod({"imagePullPolcy": "Always"}), pod({}), '.spec.containers[name="app"].imagePullPolcy'),
        (pod({}, bar=[1]), pod({}), ".spec.bar"),
        ({**pod({}), "dta": {"a": "b"}}, pod({}), ".dta"),
        (pod({"env": [A1, A2]}), pod({"env": [A2]}), '.spec.containers[name="app"].env[name="A"]'),
        (
            pod({"ports": [{"name": "a", "containerPort": 1}, {"name": "b", "containerPort": 1}]}),
            pod({"ports": [{"name": "b", "containerPort": 1, "protocol": "TCP"}]}),
            '.spec.containers[name="app"].ports[name="a"]',
        ),
        (pod({}, tolerations=[{"kye": "x"}]), pod({}, tolerations=[{"key": "y"}]), ".spec.tolerations[0].kye"),
    ],
)
def test_a_field_that_the_cluster_does_not_have_is_told(rendered: Any, stored: Any, path: str) -> None:
    assert unkept(rendered, stored) == [f"Pod/web {path}"]


@pytest.mark.parametrize(
    ("rendered", "stored"),
    [
        (pod({"image": "shop:1"}), pod({"image": "shop:2", "imagePullPolicy": "Always"}, dnsPolicy="Default")),
        (pod({"env": [], "stdin": False, "resources": None}, volumes=[]), pod({})),
        ({**pod({}), "status": {"phase": "Running"}}, pod({})),
        ({"kind": "Secret", "stringData": {"a": "b"}}, {"kind": "Secret", "data": {"a": "Yg=="}}),
        (pod({}, tolerations=[{"kye": "x"}]), pod({}, tolerations=[])),
        (pod({"env": [A1]}), pod({"env": [A1, {"name": "INJECTED", "value": "1"}]})),
    ],
)
def test_what_the_cluster_changes_or_adds_or_leaves_empty_is_not_told(rendered: Any, stored: Any) -> None:
    assert unkept(rendered, stored) == []
