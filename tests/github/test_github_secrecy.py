"""Where credentials come from, and where they never go."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from tests.github import faults
from tests.github.client import TOKEN, client, everything_said_by, refused, standin_with
from tests.github.standin import API, StandIn
from tests.github.state import User

from greenroom.adapters.github_credentials import Credential, Token
from greenroom.model.errors import ForgeForbidden, ForgeInvalid, ForgeUnavailable

DELIVERIES = "/repos/{owner}/{repo}/hooks/{hook_id}/deliveries"

# Moved repositories


async def test_a_repository_that_was_renamed_is_followed() -> None:
    standin, shop = standin_with(pulls=1)
    async with client(standin) as forge:
        former = standin.address(shop)
        standin.rename(shop, "new-owner/new-name")
        assert (await forge.pull(former, 1)).pull.repository == standin.address(shop)
        assert len(await forge.open_pulls(former)) == 1
        comment = await forge.comment(former, 1, "hello")
        await forge.edit_comment(former, comment, "here")
        await forge.remove_environment(former, "pr 1/x")
    assert [comment.body for comment in shop.pulls[1].comments] == ["here"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_credentials_do_not_follow_to_another_host(status: int) -> None:
    elsewhere = StandIn()
    standin, shop = standin_with(pulls=1)
    async with elsewhere.served() as evil, client(standin) as forge:
        standin.fail(faults.redirected(f"{evil}{API}/repositories/1/pulls/1", status))
        for ask in (forge.pull(standin.address(shop), 1), forge.comment(standin.address(shop), 1, "x")):
            with refused(ForgeUnavailable, "leads to 127.0.0.1, where it is not followed"):
                await ask
    assert not elsewhere.calls


async def test_a_link_does_not_lead_credentials_to_another_host() -> None:
    elsewhere = StandIn()
    standin, shop = standin_with(pulls=1)
    hook = standin.hook(shop, "https://hooks.example.com/")
    standin.deliver(hook, 500)
    async with elsewhere.served() as evil, client(standin) as forge:
        standin.fail(faults.linking(f"{evil}{API}/user?page=2"))
        with refused(ForgeUnavailable, "where it is not followed"):
            await forge.open_pulls(standin.address(shop))
        standin.heal()
        standin.fail(faults.linking(f"{evil}{API}/user?cursor=v1_2"), template=DELIVERIES)
        with refused(ForgeUnavailable, "where it is not followed"):
            await forge.redeliver(standin.address(shop), hook.url, timedelta(days=1))
    assert not elsewhere.calls


async def test_a_page_of_the_same_server_that_is_not_its_api_is_not_followed() -> None:
    standin, shop = standin_with(pulls=1)
    async with client(standin) as forge:
        standin.fail(faults.redirected(f"{standin.site}/login", 302), times=1)
        with refused(ForgeUnavailable, "where it is not followed"):
            await forge.pull(standin.address(shop), 1)
    assert standin.calls.total() == 1


async def test_a_write_is_not_sent_to_wherever_it_is_led() -> None:
    standin, shop = standin_with(pulls=1)
    async with client(standin) as forge:
        standin.fail(faults.redirected(f"{standin.site}{API}/repos/other/shop/issues/1/comments", 307), "POST")
        with refused(ForgeUnavailable, "answered 307"):
            await forge.comment(standin.address(shop), 1, "x")
    assert standin.calls.total() == 1


async def test_a_circle_has_an_end() -> None:
    standin, shop = standin_with(pulls=1)
    async with client(standin) as forge:
        standin.fail(faults.redirected(f"{standin.site}{API}/repos/acme/shop/pulls/1"))
        with refused(ForgeUnavailable, "without an end"):
            await forge.pull(standin.address(shop), 1)


# Tokens


async def test_a_token_replaced_on_disk_is_used_after_a_401(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    standin, shop = standin_with(pulls=1)
    standin.token(TOKEN)
    async with client(standin, Token(path)) as forge:
        await forge.pull(standin.address(shop), 1)
        standin.revoke(TOKEN)
        with refused(ForgeForbidden, "401 Unauthorized: Bad credentials"):
            await forge.pull(standin.address(shop), 1)
        path.write_text(standin.token("ghp_another"))
        await forge.pull(standin.address(shop), 1)
    assert standin.authorizations[-2:] == [f"Bearer {TOKEN}", "Bearer ghp_another"]


async def test_a_token_replaced_on_disk_is_used_in_time_without_a_401(tmp_path: Path) -> None:
    path, seconds = tmp_path / "token", [0.0]
    path.write_text("ghp_one")
    token = Token(path, now=lambda: seconds[0])
    assert (await token.current()).secret == "ghp_one"
    path.write_text("ghp_two")
    assert (await token.current()).secret == "ghp_one"
    seconds[0] = 11
    assert (await token.current()).secret == "ghp_two"
    path.write_text("")
    seconds[0] = 22
    assert (await token.current()).secret == "ghp_two"
    path.unlink()
    seconds[0] = 33
    assert (await token.current()).secret == "ghp_two"


async def test_our_name_is_asked_for_again_with_another_token() -> None:
    shown = [TOKEN]
    standin, shop = standin_with(pulls=1)
    standin.token(TOKEN)
    standin.token("ghp_another", login="another")
    standin.comment(shop.pulls[1], User("another"), "by the other")
    async with client(standin, Token(lambda: shown[0])) as forge:
        assert await forge.comments(standin.address(shop), 1) == []
        shown[0] = "ghp_another"
        standin.revoke(TOKEN)
        assert [comment.body for comment in await forge.comments(standin.address(shop), 1)] == ["by the other"]


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe" + TOKEN.encode(), f"{TOKEN}\n{TOKEN}".encode(), None])
async def test_a_token_that_is_none_is_said_without_it(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    standin, shop = standin_with(pulls=1)
    async with client(standin, Token(path)) as forge:
        with refused(ForgeForbidden, "token"):
            await forge.pull(standin.address(shop), 1)
    assert not standin.calls


def test_credentials_do_not_show_in_logs() -> None:
    for shown in (Token(TOKEN), Token(lambda: TOKEN), Credential("token", TOKEN)):
        assert not re.search(TOKEN, repr(shown))


async def test_a_token_of_no_known_form_is_not_repeated_either() -> None:
    standin, shop = standin_with(pulls=1)
    secret = standin.token("0123456789abcdef0123")
    standin.fail(faults.refused(422, f"who is {secret}?"))
    async with client(standin, Token(secret)) as forge:
        with refused(ForgeInvalid, r"who is \[hidden\]\?") as caught:
            await forge.pull(standin.address(shop), 1)
    assert secret not in everything_said_by(caught.value)
