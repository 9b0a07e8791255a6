"""Credentials for a forge: what is taken, and what is refused before it does harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from greenroom.app.forging import GITHUB, ForgeSettings
from greenroom.model.errors import InvalidInput

NOTHING: dict[str, Any] = {
    "token_file": None,
    "app_id": "",
    "key_file": None,
    "server": GITHUB,
    "webhook": "",
    "via": "",
}
TOKEN, KEY = Path("token"), Path("key.pem")


def test_without_credentials_nothing_is_asked_of_a_forge() -> None:
    assert ForgeSettings.of(**NOTHING) is None


@pytest.mark.parametrize("given", [{"token_file": TOKEN}, {"app_id": "1", "key_file": KEY}])
def test_a_token_or_an_app_will_do(given: dict[str, Any]) -> None:
    assert ForgeSettings.of(**{**NOTHING, **given}) is not None


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"token_file": TOKEN, "app_id": "1"}, "--github-token-file"),
        ({"token_file": TOKEN, "key_file": KEY}, "--github-token-file"),
        ({"app_id": "1"}, "--github-app-key-file"),
        ({"key_file": KEY}, "--github-app-id"),
        ({"token_file": TOKEN, "server": "http://github.example.com"}, "--github-url"),
        ({"token_file": TOKEN, "via": "ingress-gw"}, "--visit-via"),
        ({"token_file": TOKEN, "via": ":80"}, "--visit-via"),
        ({"token_file": TOKEN, "via": "ingress-gw:http"}, "--visit-via"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_the_option_s_name(given: dict[str, Any], option: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        ForgeSettings.of(**{**NOTHING, **given})
    assert (refused.value.path, bool(refused.value.cure)) == (option, True)
