"""Helm, as its users run it, with Greenroom's chart."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import yaml
from tests.cluster.kubernetes import Kubernetes

from greenroom.model.manifest import Kind, Manifest, table

CHART = Path(__file__).parents[2] / "deploy" / "chart"
BASELINE: Manifest = {"image": {"repository": "registry.example.com/greenroom"}}
"""The values without which there is nothing to install."""


class Helm:
    """The program, with a release of the name and namespace that are given."""

    def __init__(self, binary: Path, folder: Path, release: str = "greenroom", namespace: str = "greenroom") -> None:
        self._binary = binary
        self._values = folder / "values.yaml"
        self.release, self.namespace = release, namespace

    def lint(self, values: Manifest) -> str:
        return self._run("lint", "--strict", values=values)

    def render(self, values: Manifest, *, kinds: Sequence[Kind] = ()) -> list[Manifest]:
        """Every object that it would create, but for the CRDs, in a cluster with ``kinds`` besides. Raises Refused."""
        return list(yaml.safe_load_all(self.template(values, kinds=kinds)))

    def template(self, values: Manifest, *, kinds: Sequence[Kind] = ()) -> str:
        served = (f"--api-versions={kind.api_version}/{kind.name}" for kind in kinds)
        return self._run("template", self.release, "--kube-version=1.30.0", *served, values=values)

    def install(self, values: Manifest, kubernetes: Kubernetes) -> str:
        return self._run("install", self.release, f"--kubeconfig={kubernetes.kubeconfig}", values=values)

    def uninstall(self, kubernetes: Kubernetes) -> None:
        arguments = (self.release, f"--kubeconfig={kubernetes.kubeconfig}", f"--namespace={self.namespace}")
        subprocess.run([self._binary, "uninstall", *arguments], check=True, capture_output=True)

    def _run(self, command: str, *arguments: str, values: Manifest) -> str:
        self._values.write_text(yaml.safe_dump(merged(BASELINE, values)))
        options = (f"--namespace={self.namespace}", f"--values={self._values}")
        done = subprocess.run(
            [self._binary, command, *arguments, CHART, *options], check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise Refused(done.stderr + done.stdout)
        return done.stdout


class Refused(Exception):
    """Helm does not render this, and says why."""


def merged(base: Manifest, values: Manifest) -> Manifest:
    """What Helm makes of two files of values."""
    inner = {key: merged(table(base, key), table(values, key)) for key in table(base) if key in table(values)}
    return {**base, **values, **{key: value for key, value in inner.items() if isinstance(values[key], dict)}}
