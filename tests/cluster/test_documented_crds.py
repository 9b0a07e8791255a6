"""The commands of the documentation that install CRDs, as kubectl understands them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from tests.cluster.kubectl import Kubectl
from tests.cluster.kubernetes import Kubernetes

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/install.md", "docs/kubernetes.md", "docs/migration.md")
COMMAND = re.compile(r"kubectl (apply --server-side --force-conflicts(?: \\\n)? [^\n#]*chart/crds[^\n#]*)")


@pytest.mark.parametrize("page", PAGES)
async def test_the_first_command_of_a_page_touches_no_crd_of_app_mesh(
    kubernetes: Kubernetes, binaries: Path, page: str
) -> None:
    """AWS's own may be there, and others may need them."""
    command = next(COMMAND.finditer((ROOT / page).read_text()))[1].replace("\\\n", " ")
    kubectl = Kubectl(binaries / "kubectl", kubernetes.kubeconfig, "default")
    said = await kubectl(*shlex.split(command), "--dry-run=server", "-o", "name")
    assert sorted(each.partition("/")[2] for each in said.split()) == [
        "prs.kubetempura.mercari.com",
        "reviewapps.kubetempura.mercari.com",
    ]
