"""A GitHub App: its installations, their tokens, and its own webhook."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from tests.github import faults
from tests.github.client import Clock, client, keys, other_keys, refused
from tests.github.standin import StandIn
from tests.github.state import App as Registered
from tests.github.state import Repository, User

from greenroom.adapters.github_credentials import App
from greenroom.model.errors import ForgeForbidden, ForgeNotFound, ForgeUnavailable

TOKENS = ("POST", "/app/installations/{installation_id}/access_tokens")
INSTALLATION = ("GET", "/repos/{owner}/{repo}/installation")
PULL = "/repos/{owner}/{repo}/pulls/{pull_number}"
HOOK = "https://hooks.example.com/app"


def installed(*names: str, clock: Clock | None = None) -> tuple[StandIn, list[Repository], Registered]:
    standin = StandIn(now=(clock or Clock()).now)
    repositories = [standin.repository(name) for name in names]
    for repository in repositories:
        standin.open_pull(repository)
    return standin, repositories, standin.install_app(keys()[1], *repositories, hook=HOOK)


def app_of(registered: Registered) -> App:
    return App(str(registered.id), keys()[0])


async def test_repositories_of_one_installation_share_its_token() -> None:
    standin, (shop, web), registered = installed("acme/shop", "acme/web")
    async with client(standin, app_of(registered)) as forge:
        asked = [forge.pull(standin.address(repository), 1) for repository in (shop, web) * 5]
        await asyncio.gather(*asked)
    assert standin.calls[TOKENS] == 1
    assert standin.calls[INSTALLATION] == 2


async def test_an_app_is_known_by_its_client_id_and_by_a_key_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text(keys()[0])
    standin, (shop,), registered = installed("acme/shop")
    async with client(standin, App(registered.client_id, path)) as forge:
        await forge.pull(standin.address(shop), 1)


async def test_a_key_that_was_replaced_is_used(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text(keys()[0])
    clock = Clock()
    standin, (shop,), registered = installed("acme/shop", clock=clock)
    seconds = [0.0]
    async with client(standin, App(str(registered.id), path, now=lambda: seconds[0]), clock=clock) as forge:
        await forge.pull(standin.address(shop), 1)
        private, registered.key = other_keys()
        path.write_text(private)
        seconds[0], clock.later = 60.0, timedelta(hours=2)
        await forge.pull(standin.address(shop), 1)


async def test_an_assertion_is_shown_again_while_it_is_young() -> None:
    app, clock = App("1", keys()[0]), Clock()
    first = app.assertion(clock.now())
    assert app.assertion(clock.now() + timedelta(minutes=3)) == first
    assert app.assertion(clock.now() + timedelta(minutes=5)) != first
    assert app.assertion(clock.now() - timedelta(days=5)) != first


async def test_a_token_is_renewed_five_minutes_before_its_end() -> None:
    clock = Clock()
    standin, (shop,), registered = installed("acme/shop", clock=clock)
    async with client(standin, app_of(registered), clock=clock) as forge:
        await forge.pull(standin.address(shop), 1)
        clock.later = timedelta(minutes=54)
        await forge.pull(standin.address(shop), 1)
        assert standin.calls[TOKENS] == 1
        clock.later = timedelta(minutes=56)
        await asyncio.gather(*[forge.pull(standin.address(shop), 1) for _ in range(5)])
    assert standin.calls[TOKENS] == 2
    assert not standin.wrong


async def test_a_token_that_is_refused_is_renewed_once() -> None:
    standin, (shop,), registered = installed("acme/shop")
    async with client(standin, app_of(registered)) as forge:
        await forge.pull(standin.address(shop), 1)
        standin.revoke(next(iter(registered.tokens)))
        await asyncio.gather(*[forge.pull(standin.address(shop), 1) for _ in range(5)])
        assert standin.calls[TOKENS] == 2
        standin.fail(faults.refused(401, "Bad credentials"), template=PULL)
        with refused(ForgeForbidden, "Bad credentials"):
            await forge.pull(standin.address(shop), 1)
    assert standin.calls[TOKENS] == 3


async def test_a_refusal_that_comes_late_does_not_cost_the_new_token() -> None:
    standin, (shop,), registered = installed("acme/shop")
    standin.open_pull(shop)
    async with client(standin, app_of(registered)) as forge:
        await forge.pull(standin.address(shop), 1)
        standin.revoke(next(iter(registered.tokens)))
        standin.fail(faults.slow(0.5), template=PULL, when=lambda request: request.path.endswith("/2"), times=1)
        await asyncio.gather(*[forge.pull(standin.address(shop), number) for number in (1, 2)])
    assert standin.calls[TOKENS] == 2


async def test_an_app_that_was_installed_anew_is_found_again() -> None:
    clock = Clock()
    standin, (shop,), registered = installed("acme/shop", clock=clock)
    async with client(standin, app_of(registered), clock=clock) as forge:
        await forge.pull(standin.address(shop), 1)
        registered.installations = {77: {shop.id}}
        clock.later = timedelta(hours=2)
        with refused(ForgeForbidden, "no longer installed"):
            await forge.pull(standin.address(shop), 1)
        await forge.pull(standin.address(shop), 1)


async def test_where_the_app_is_not_installed_nothing_is_said_of_what_is_there() -> None:
    """Who took a 404 for it would take a pull request for gone."""
    standin, (_shop,), registered = installed("acme/shop")
    private = standin.repository("acme/private")
    async with client(standin, app_of(registered)) as forge:
        assert forge.has_credentials(standin.address(private))
        with refused(ForgeForbidden, "not installed on acme/private"):
            await forge.pull(standin.address(private), 1)


async def test_an_app_finds_a_repository_by_its_former_name() -> None:
    standin, (shop,), registered = installed("acme/shop")
    async with client(standin, app_of(registered)) as forge:
        former = standin.address(shop)
        standin.rename(shop, "acme/store")
        assert (await forge.pull(former, 1)).pull.repository == standin.address(shop)


async def test_comments_of_an_app_are_those_of_its_bot() -> None:
    standin, (shop,), registered = installed("acme/shop")
    standin.comment(shop.pulls[1], User("greenroom"), "a person of that name")
    async with client(standin, app_of(registered)) as forge:
        written = await forge.comment(standin.address(shop), 1, "ours")
        for _ in range(2):
            assert [comment.id for comment in await forge.comments(standin.address(shop), 1)] == [written]
    assert standin.calls["GET", "/app"] == 1


async def test_what_an_app_missed_is_sent_again() -> None:
    standin, (shop,), registered = installed("acme/shop")
    standin.deliver(registered.hook, 503)
    own = standin.hook(shop, "https://hooks.example.com/shop")
    standin.deliver(own, 503)
    async with client(standin, app_of(registered)) as forge:
        assert await forge.redeliver(standin.address(shop), HOOK, timedelta(days=1)) == 1
        assert [delivery.redelivery for delivery in registered.hook.deliveries] == [False, True]
        assert await forge.redeliver(standin.address(shop), own.url, timedelta(days=1)) == 1
    assert [delivery.redelivery for delivery in own.deliveries] == [False, True]


async def test_an_app_without_a_webhook_looks_at_the_repository() -> None:
    standin, (shop,), registered = installed("acme/shop")
    standin.fail(faults.refused(404), template="/app/hook/config")
    standin.deliver(standin.hook(shop, HOOK), 503)
    async with client(standin, app_of(registered)) as forge:
        assert await forge.redeliver(standin.address(shop), HOOK, timedelta(days=1)) == 1


@pytest.mark.parametrize(
    ("template", "fault", "error"),
    [
        (TOKENS[1], faults.refused(500), ForgeUnavailable),
        (TOKENS[1], faults.shortened(), ForgeUnavailable),
        (TOKENS[1], faults.cut(), ForgeUnavailable),
        (TOKENS[1], faults.answered(201, {"token": 5}), ForgeUnavailable),
        (TOKENS[1], faults.refused(403, "This installation has been suspended"), ForgeForbidden),
        (INSTALLATION[1], faults.refused(401, "bad"), ForgeForbidden),
        (INSTALLATION[1], faults.reset(), ForgeUnavailable),
    ],
)
async def test_a_token_that_is_not_given_is_asked_for_again(
    template: str, fault: faults.Fault, error: type[ForgeForbidden | ForgeUnavailable]
) -> None:
    standin, (shop,), registered = installed("acme/shop")
    standin.fail(fault, template=template)
    async with client(standin, app_of(registered)) as forge:
        with refused(error):
            await forge.pull(standin.address(shop), 1)
        standin.heal()
        await forge.pull(standin.address(shop), 1)
        with refused(ForgeNotFound):
            await forge.pull(standin.address(shop), 2)


@pytest.mark.parametrize(
    "key", ["not a key", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", ""]
)
async def test_a_key_that_is_none_is_said_without_it(key: str) -> None:
    standin, (shop,), registered = installed("acme/shop")
    async with client(standin, App(str(registered.id), key)) as forge:
        with refused(ForgeForbidden, "private key"):
            await forge.pull(standin.address(shop), 1)
    assert not standin.calls


def test_the_key_does_not_show_in_logs() -> None:
    assert "PRIVATE" not in repr(App("1", keys()[0]))
