"""Which repositories are asked for, and which are not."""

from __future__ import annotations

import pytest
from tests.github.client import client, refused
from tests.github.standin import StandIn

from greenroom.model.errors import ForgeForbidden, ForgeInvalid


@pytest.mark.parametrize(
    "address",
    [
        "https://github.com/acme/shop",
        "http://127.0.0.1:1/acme/shop",
        "http://127.0.0.1@evil.example.com/acme/shop",
        "http://user:pw@{host}/acme/shop",
        "ftp://{host}/acme/shop",
        "https://{host}/acme/shop",
        "acme/shop",
        "http://[/",
        "",
    ],
)
async def test_credentials_are_for_no_other_server(address: str) -> None:
    standin = StandIn()
    async with client(standin) as forge:
        elsewhere = address.replace("{host}", standin.site.removeprefix("http://"))
        assert not forge.has_credentials(elsewhere)
        with refused(ForgeForbidden, "no credentials"):
            await forge.pull(elsewhere, 1)
    assert not standin.calls


async def test_an_address_is_known_however_it_is_written() -> None:
    standin = StandIn()
    shop = standin.repository()
    standin.open_pull(shop)
    async with client(standin) as forge:
        for address in (
            f" {standin.site.upper()}/ACME/Shop ",
            f"{standin.site}/acme/shop.git",
            f"{standin.site}/acme/shop/",
        ):
            assert forge.has_credentials(address)
            assert (await forge.pull(address, 1)).pull.repository == standin.address(shop)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/acme",
        "/acme/shop/pull/1",
        "/acme/..",
        "/acme/..git",
        "/%2e%2e/shop",
        "/../shop",
        "/acme/sh%6fp%2f..",
        "/a b/c",
        "/acme/sh{}p",
    ],
)
async def test_what_is_no_name_of_a_repository_is_not_asked_for(path: str) -> None:
    standin = StandIn()
    async with client(standin) as forge:
        with refused(ForgeInvalid, "not the address of a repository"):
            await forge.pull(standin.site + path, 1)
    assert not standin.calls
