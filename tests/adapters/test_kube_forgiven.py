"""What creating an object would forgive is left out of what is applied. The messages are kube-apiserver's, of 1.34."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from greenroom.adapters.kube_forgiven import forgiven

HEAD = "failed to create typed patch object (pr-env/web; apps/v1, Kind=Deployment): "
ENV = '.spec.containers[name="app"].env'
UNKNOWN = "field not declared in schema"
TWICE = "duplicate entries for key"


def pod(*containers: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web"}, "spec": {"containers": [*containers], **fields}}


def container(name: str = "app", **fields: Any) -> dict[str, Any]:
    return {"name": name, **fields}


TYPO = "imagePullPolcy"
ALIAS = {"ip": "10.0.0.1", "hostnames": ["a"]}
TCP, UDP = {"containerPort": 53, "name": "a"}, {"containerPort": 53, "protocol": "UDP"}
A1, A2, B = ({"name": name, "value": value} for name, value in (("A", "1"), ("A", "2"), ("B", "1")))


@pytest.mark.parametrize(
    ("given", "refusal", "applied", "told"),
    [
        (
            pod(container(**{TYPO: "Always"}), container("other", **{TYPO: "Always"})),
            f'{HEAD}.spec.containers[name="app"].{TYPO}: {UNKNOWN}',
            pod(container(), container("other", **{TYPO: "Always"})),
            [f'.spec.containers[name="app"].{TYPO}'],
        ),
        (pod(bar=[1]), f"{HEAD}.spec.bar: {UNKNOWN}", pod(), [".spec.bar"]),
        ({**pod(), "dta": {"a": "b"}}, f"{HEAD}.dta: {UNKNOWN}", pod(), [".dta"]),
        (
            pod(container(ports=[TCP, {**UDP, "protcol": "UDP"}])),
            f'{HEAD}.spec.containers[name="app"].ports[containerPort=53,protocol="UDP"].protcol: {UNKNOWN}',
            pod(container(ports=[TCP, UDP])),
            ['.spec.containers[name="app"].ports[containerPort=53,protocol="UDP"].protcol'],
        ),
        (
            pod(container(headers=[{"name": "x"}, {"name": "y", "bad": 1}])),
            f'{HEAD}.spec.containers[name="app"].headers[1].bad: {UNKNOWN}',
            pod(container(headers=[{"name": "x"}, {"name": "y"}])),
            ['.spec.containers[name="app"].headers[1].bad'],
        ),
        (
            pod(container(env=[A1, B, A2, B])),
            f'{HEAD}errors:\n  {ENV}: {TWICE} [name="A"]\n  {ENV}: {TWICE} [name="B"]',
            pod(container(env=[A2, B])),
            ['.spec.containers[name="app"].env[name="A"]', '.spec.containers[name="app"].env[name="B"]'],
        ),
        (
            pod(container(ports=[TCP, UDP, {"containerPort": 53, "protocol": "TCP", "name": "b"}])),
            f'{HEAD}.spec.containers[name="app"].ports: {TWICE} [containerPort=53,protocol="TCP"]',
            pod(container(ports=[UDP, {"containerPort": 53, "protocol": "TCP", "name": "b"}])),
            ['.spec.containers[name="app"].ports[containerPort=53,protocol="TCP"]'],
        ),
        (
            pod(imagePullSecrets=[{"name": "x"}, {"name": "x"}]),
            f'{HEAD}.spec.imagePullSecrets: {TWICE} [name="x"]',
            pod(imagePullSecrets=[{"name": "x"}]),
            ['.spec.imagePullSecrets[name="x"]'],
        ),
        (
            pod(container(mounts=[{"mountPath": '/a].b "c"', "bad": 1}])),
            f'{HEAD}.spec.containers[name="app"].mounts[mountPath="/a].b \\"c\\""].bad: {UNKNOWN}',
            pod(container(mounts=[{"mountPath": '/a].b "c"'}])),
            [r'.spec.containers[name="app"].mounts[mountPath="/a].b \"c\""].bad'],
        ),
    ],
)
def test_what_creating_forgives_is_left_out_and_told(
    given: Mapping[str, Any], refusal: str, applied: Mapping[str, Any], told: list[str]
) -> None:
    found = forgiven(given, refusal)
    assert (found.manifest, list(found.left_out)) == (applied, told)


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        (pod(container(), container()), f'{HEAD}.spec.containers: {TWICE} [name="app"]'),
        ({"spec": {"ports": [{"port": 1}, {"port": 1}]}}, f'{HEAD}.spec.ports: {TWICE} [port=1,protocol="TCP"]'),
        ({"metadata": {"finalizers": ["a", "a"]}}, f'{HEAD}.metadata.finalizers: {TWICE} [="a"]'),
        (pod(imagePullSecrets=[{"name": "x"}, {"name": "y"}]), f'{HEAD}.spec.imagePullSecrets: {TWICE} [="x"]'),
        (pod(hostAliases=[ALIAS, ALIAS]), f'{HEAD}.spec.hostAliases: {TWICE} [ip="10.0.0.1"]'),
        (pod(container(env=[A1, A2])), f'{HEAD}.spec.containers[name="other"].env: {TWICE} [name="A"]'),
        (pod(bar=1), f"{HEAD}.spec.baz: {UNKNOWN}"),
        (pod(bar=1), f"{HEAD}.spec.bar: expected string, got [hidden]"),
        (pod(bar=1), f'Pod "web" is invalid: .spec.bar: Invalid value: [hidden]: {UNKNOWN} of mine'),
        (pod(bar=1), ""),
    ],
)
def test_what_would_be_refused_or_lost_otherwise_stays_as_it_is(given: Mapping[str, Any], refusal: str) -> None:
    found = forgiven(given, refusal)
    assert (found.manifest, found.left_out) == (given, ())
