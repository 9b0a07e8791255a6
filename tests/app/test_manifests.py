"""Reading manifests: what a person is told about a file that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenroom.app.manifests import load
from greenroom.model.errors import InvalidInput
from greenroom.model.manifest import get, text

REVIEW_APP = """\
apiVersion: kubetempura.mercari.com/v1
kind: ReviewApp
metadata:
  name: shop
spec:
  githubRepository: https://github.com/acme/shop
  resources:
    - apiVersion: v1
      kind: ConfigMap
      metadata:
        name: pr{{PR_NUMBER}}
      data:
        since: 2026-01-01
"""


def write(folder: Path, content: str, name: str = "app.yaml") -> str:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return str(path)


def test_reads_every_document_of_a_file_and_every_file_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path, REVIEW_APP + "---\n" + REVIEW_APP.replace("name: shop", "name: other") + "---\n", "a.yaml")
    write(tmp_path, '{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "pr-env"}}', "b.json")
    write(tmp_path, "not a manifest", "README.md")
    names = [text(document.manifest, "metadata", "name") for document in load([str(tmp_path)])]
    assert names == ["shop", "other", "pr-env"]


def test_a_list_is_its_items(tmp_path: Path) -> None:
    items = "apiVersion: v1\nkind: List\nitems:\n" + "".join(
        f"- {{apiVersion: v1, kind: Namespace, metadata: {{name: n{i}}}}}\n" for i in range(2)
    )
    assert [text(d.manifest, "metadata", "name") for d in load([write(tmp_path, items)])] == ["n0", "n1"]


def test_a_date_stays_text_as_in_kubernetes(tmp_path: Path) -> None:
    [document] = load([write(tmp_path, REVIEW_APP)])
    assert get(document.manifest, "spec", "resources", 0, "data", "since") == "2026-01-01"


@pytest.mark.parametrize(
    ("content", "where", "what"),
    [
        ("a: }", "app.yaml:1", "not valid YAML"),
        ("a:\n\tb: 1", "app.yaml:2", "put spaces in place of the tab"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "app.yaml:4", "'c' is given twice"),
        ("- 1\n", "app.yaml:1", "not a Kubernetes object"),
        ("kind: Pod\nmetadata: {name: a}\n", "app.yaml:1", "apiVersion"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {}\n", "app.yaml:1", "metadata.name"),
        ("", "app.yaml", "no objects found"),
        (REVIEW_APP.replace("githubRepository", "githubRepo"), "app.yaml:6", "githubRepository"),
        (REVIEW_APP.replace("      kind: ConfigMap\n", ""), "app.yaml:8", "spec.resources[0].kind"),
        (REVIEW_APP.replace("https://github.com/acme/shop", "[1]"), "app.yaml:6", "spec.githubRepository"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_field(tmp_path: Path, content: str, where: str, what: str) -> None:
    with pytest.raises(InvalidInput) as error:
        load([write(tmp_path, content)])
    assert str(error.value).startswith(str(tmp_path / where))
    assert what in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no such file or folder"):
        load([str(tmp_path / "none.yaml")])


def test_a_small_file_of_many_aliases_does_not_take_for_ever(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    with pytest.raises(InvalidInput, match="apiVersion"):
        load([write(tmp_path, "\n".join(lines))])
