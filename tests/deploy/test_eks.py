"""deploy/eks and docs/eks.md: the module as Terraform and OpenTofu judge it, and names that must agree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
import yaml
from tests.deploy.provider import serving

from greenroom.core.bootstrap import READY_PATH, READY_PORT

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "deploy" / "eks"
MANIFESTS = MODULE / "manifests"
PUBLISHED = ROOT / "tests" / "data" / "published"
PAGE = ROOT / "docs" / "eks.md"
(EXAMPLE,) = re.findall(r"^```hcl\n# main.tf\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
SOURCE = "".join(file.read_text() for file in sorted(MODULE.glob("*.tf")))

Shape: TypeAlias = "str | tuple[str, ...] | list[Shape] | dict[str, Shape]"
NAME_OR_NUMBER = ("int", "str")
BINDING: Shape = {
    "apiVersion": "str",
    "kind": "str",
    "metadata": {"name": "str"},
    "spec": {
        "ipAddressType": "str",
        "networking": {
            "ingress": [
                {
                    "from": [{"ipBlock": {"cidr": "str"}, "securityGroup": {"groupID": "str"}}],
                    "ports": [{"port": NAME_OR_NUMBER, "protocol": "str"}],
                }
            ]
        },
        "serviceRef": {"name": "str", "port": NAME_OR_NUMBER},
        "targetGroupARN": "str",
        "targetType": "str",
    },
}
"""TargetGroupBinding elbv2.k8s.aws/v1beta1: the fields that the CRD of AWS Load Balancer Controller has for pods."""


def blocks(kind: str) -> dict[str, str]:
    """The bodies of the module's top-level blocks of that kind, by label."""
    return dict(re.findall(rf'^{kind} "(\w+)" {{\n(.*?)^}}', SOURCE, re.MULTILINE | re.DOTALL))


def placeholders(file: Path) -> set[str]:
    return set(re.findall(r"<[A-Za-z ]+>", file.read_text()))


def local(name: str) -> str:
    values: list[str] = re.findall(rf'^  {name} += "?([^\s"]+)', SOURCE, re.MULTILINE)
    assert len(values) == 1
    return values[0]


@pytest.fixture(params=["tofu", "terraform"])
def program(request: pytest.FixtureRequest) -> str:
    found = shutil.which(str(request.param))
    if found is None:
        pytest.skip(f"{request.param} is not on the PATH")
    return found


@pytest.fixture(scope="module")
def provider() -> Iterator[dict[str, str]]:
    with serving() as environment:
        yield environment


class Judge:
    """Runs the program on a copy of the module, or in a folder beside it, with nothing of the user's settings."""

    def __init__(self, program: str, folder: Path, provider: dict[str, str]) -> None:
        settings = folder / "settings"
        settings.touch()
        self.module = folder / "eks"
        shutil.copytree(MODULE, self.module)
        self._program = program
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "TF_CLI_CONFIG_FILE": str(settings),
            "CHECKPOINT_DISABLE": "1",
            **provider,
        }

    def __call__(self, *arguments: str, folder: Path | None = None) -> tuple[bool, str]:
        """Whether it is content, and all that it says."""
        run = subprocess.run(
            [self._program, *arguments],
            cwd=folder or self.module,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        return run.returncode == 0, run.stdout + run.stderr


@pytest.fixture
def judge(program: str, tmp_path: Path, provider: dict[str, str]) -> Judge:
    return Judge(program, tmp_path, provider)


def test_the_module_is_formatted(judge: Judge) -> None:
    content, said = judge("fmt", "-check", "-recursive", "-diff", "-no-color")
    assert content, said


def test_the_module_is_valid(judge: Judge) -> None:
    content, said = judge("validate", "-no-color")
    assert content, said


@pytest.mark.timeout(120)
def test_the_module_makes_what_its_own_tests_say(judge: Judge) -> None:
    content, said = judge("test", "-no-color")
    assert content, said


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ("drop_invalid_header_fields = true", "drop_invalid_headers = true", '"drop_invalid_headers" is not expected'),
        ('  type             = "forward"\n', "", 'The argument "type" is required'),
        ("one(aws_lb.this).arn", "one(aws_lb.that).arn", "Reference to undeclared resource"),
    ],
)
def test_a_mistake_would_be_found(judge: Judge, right: str, wrong: str, complaint: str) -> None:
    file = judge.module / "load_balancer.tf"
    file.write_text(file.read_text().replace(right, wrong))
    content, said = judge("validate", "-no-color")
    assert not content
    assert complaint in " ".join(said.split())


def test_the_example_of_the_page_is_valid(judge: Judge) -> None:
    team = judge.module.with_name("team")
    team.mkdir()
    example = EXAMPLE.replace("../greenroom/deploy/eks", "../eks")
    (team / "main.tf").write_text(example)
    (team / "github.json").write_text('["192.0.2.0/24"]')
    for command in (("fmt", "-check", "-diff"), ("init", "-no-color"), ("validate", "-no-color")):
        content, said = judge(*command, folder=team)
        assert content, said


@pytest.mark.parametrize("kind", ["variable", "output"])
def test_everything_is_described(kind: str) -> None:
    assert len(blocks(kind)) > 10
    assert [
        name for name, body in blocks(kind).items() if not re.search(r'^  description = ".{20}', body, re.MULTILINE)
    ] == []


def test_every_variable_is_used() -> None:
    elsewhere = re.sub(r'^variable "\w+" {\n.*?^}', "", SOURCE, flags=re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"\bvar\.(\w+)", elsewhere)) == set(blocks("variable"))


@pytest.mark.parametrize("name", ["tgb.yaml", "serviceaccount.yaml"])
def test_the_manifests_are_as_published(name: str) -> None:
    assert (MANIFESTS / name).read_bytes() == (PUBLISHED / name).read_bytes()


@pytest.mark.parametrize("file", sorted(MANIFESTS.iterdir()), ids=lambda file: file.name)
def test_every_placeholder_is_answered_by_an_output(file: Path) -> None:
    answered = "".join(blocks("output").values())
    assert placeholders(file)
    assert [name for name in placeholders(file) if f"in place of {name}" not in answered] == []


def test_what_aws_alone_knows_of_the_review_app_is_answered_too() -> None:
    answered = "".join(blocks("output").values())
    asked = placeholders(PUBLISHED / "reviewapp.yaml") - {"<Owner>", "<Repository>", "<ECR Repository>"}
    assert asked == {"<AWS ACCOUNT ID>", "<Region>"}
    assert [name for name in asked if f"in place of {name}" not in answered] == []


@pytest.mark.parametrize("name", ["tgb.yaml", "webhook.yaml"])
def test_a_binding_has_only_fields_that_the_controller_knows(name: str) -> None:
    assert unknown(yaml.safe_load((MANIFESTS / name).read_text()), BINDING) == []


def unknown(value: object, shape: Shape, place: str = "") -> list[str]:
    """The places that do not fit."""
    match value, shape:
        case dict(), dict():
            inside = [bad for key in value if key in shape for bad in unknown(value[key], shape[key], f"{place}.{key}")]
            return [f"{place}.{key}" for key in value if key not in shape] + inside
        case list(), list():
            return [bad for item in value for bad in unknown(item, shape[0], f"{place}[]")]
        case _, str() | tuple():
            return [] if type(value).__name__ in ((shape,) if isinstance(shape, str) else shape) else [place]
        case _:
            return [place]


def test_a_field_that_the_controller_does_not_know_would_be_found() -> None:
    binding = yaml.safe_load((MANIFESTS / "tgb.yaml").read_text())
    binding["spec"]["networking"]["ingress"][0]["from"][0]["securityGroup"]["groupId"] = "sg-1"
    binding["spec"]["targetType"] = 1
    assert set(unknown(binding, BINDING)) == {
        ".spec.networking.ingress[].from[].securityGroup.groupId",
        ".spec.targetType",
    }


def test_ports_and_paths_are_those_of_the_gateway_and_of_the_webhook() -> None:
    gateway, service, _deployment = yaml.safe_load_all((PUBLISHED / "gateway.yaml").read_text())
    chart = (ROOT / "deploy" / "chart" / "templates" / "services.yaml").read_text()
    assert int(local("gateway_port")) == gateway["spec"]["listeners"][0]["portMapping"]["port"]
    assert int(local("gateway_port")) == service["spec"]["ports"][0]["targetPort"]
    assert (int(local("ready_port")), local("ready_path")) == (READY_PORT, READY_PATH)
    assert f"port: {local('webhook_port')}\n" in chart


def test_the_webhooks_binding_is_for_the_charts_service() -> None:
    binding = yaml.safe_load((MANIFESTS / "webhook.yaml").read_text())
    assert binding["spec"]["serviceRef"] == {"name": "greenroom-webhook", "port": int(local("webhook_port"))}


def test_the_page_names_what_there_is() -> None:
    page = PAGE.read_text()
    outputs = set(re.findall(r"(?:^|`|\$\()previews (\w+)", page, re.MULTILINE))
    assert len(outputs) > 5
    assert outputs <= set(blocks("output"))
    table = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert table == set(blocks("variable"))


@pytest.mark.parametrize("target", re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", PAGE.read_text()))
def test_a_page_that_is_linked_is_there(target: str) -> None:
    assert (PAGE.parent / target).exists()
