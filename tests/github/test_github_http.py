"""What happens to a request on the way to GitHub: faults, limits, pages, answers known already, and moved places."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from aiohttp import web
from tests.github import faults
from tests.github.client import TOKEN, Clock, client, everything_said_by, refused, standin_with
from tests.github.faults import Fault, Perform
from yarl import URL

from greenroom.adapters import github_http
from greenroom.adapters.github import GitHub
from greenroom.adapters.github_address import Server
from greenroom.adapters.github_credentials import Token
from greenroom.adapters.github_known import ENTRY, Known, Memory, Page
from greenroom.adapters.github_limits import WriteBudget
from greenroom.adapters.github_messages import Pull
from greenroom.model.errors import (
    ForgeError,
    ForgeForbidden,
    ForgeInvalid,
    ForgeNotFound,
    ForgeThrottled,
    ForgeUnavailable,
    InvalidInput,
)

PULLS = "/repos/{owner}/{repo}/pulls"


# Faults


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.refused(400), ForgeInvalid),
        (faults.refused(401), ForgeForbidden),
        (faults.refused(403), ForgeForbidden),
        (faults.refused(404), ForgeNotFound),
        (faults.refused(405), ForgeInvalid),
        (faults.refused(408), ForgeUnavailable),
        (faults.refused(409), ForgeUnavailable),
        (faults.refused(410), ForgeNotFound),
        (faults.refused(422), ForgeInvalid),
        (faults.refused(429), ForgeThrottled),
        (faults.refused(451), ForgeForbidden),
        (faults.refused(500), ForgeUnavailable),
        (faults.refused(304), ForgeUnavailable),
        (faults.refused(599), ForgeUnavailable),
        (faults.proxy_error(), ForgeUnavailable),
        (faults.reset(), ForgeUnavailable),
        (faults.cut(), ForgeUnavailable),
        (faults.shortened(), ForgeUnavailable),
        (faults.answered(200, {"number": "one"}), ForgeUnavailable),
        (faults.answered(200, []), ForgeUnavailable),
        (faults.redirected("/elsewhere", 303), ForgeUnavailable),
        (faults.redirected("javascript:alert(1)"), ForgeUnavailable),
        (faults.redirected("http://[/"), ForgeUnavailable),
    ],
)
async def test_each_failure_has_its_name(fault: Fault, error: type[ForgeError]) -> None:
    standin, shop = standin_with(pulls=1)
    standin.fail(fault)
    async with client(standin) as forge:
        with refused(error) as caught:
            await forge.pull(standin.address(shop), 1)
        assert type(caught.value) is error
        standin.heal()
        if error is not ForgeThrottled:
            assert (await forge.pull(standin.address(shop), 1)).pull.number == 1


async def test_a_server_that_is_slow_is_not_waited_for() -> None:
    standin, shop = standin_with(pulls=1)
    standin.fail(faults.slow(30))
    async with client(standin, timeout=0.1) as forge:
        with refused(ForgeUnavailable, "GitHub at 127.0.0.1: GET .* did not answer in time"):
            await forge.pull(standin.address(shop), 1)


async def test_a_server_that_is_gone_is_named() -> None:
    standin, shop = standin_with(pulls=1)
    async with standin.served() as server:
        forge = GitHub(Token(TOKEN), Clock(), server=server)
    async with forge:
        with refused(ForgeUnavailable, "GitHub at 127.0.0.1: GET .*: no connection: "):
            await forge.pull(standin.address(shop), 1)


async def test_an_answer_without_an_end_is_not_read_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github_http, "ANSWER_LIMIT", 100)
    standin, shop = standin_with(pulls=1)
    async with client(standin) as forge:
        with refused(ForgeUnavailable, "larger than 100 bytes"):
            await forge.pull(standin.address(shop), 1)


@pytest.mark.parametrize(
    "told",
    [
        TOKEN,
        "ghs_abcDEF123",
        "github_pat_11AB_cd",
        "Authorization: token abc",
        "eyJhbGciOi.eyJpc3Mi.c2ln",
        "bearer x.y",
    ],
)
async def test_no_secret_that_github_repeats_is_repeated(told: str) -> None:
    standin, shop = standin_with(pulls=1)
    standin.fail(faults.refused(422, f"{told} is wrong " + "x" * 5000))
    async with client(standin) as forge:
        with refused(ForgeInvalid, r"\[hidden\] is wrong") as caught:
            await forge.pull(standin.address(shop), 1)
    assert told not in everything_said_by(caught.value)
    assert len(str(caught.value)) < 500


async def test_an_answer_that_is_not_http_tells_no_secret() -> None:
    """aiohttp's error for that has the request's headers in its repr."""
    standin, shop = standin_with(pulls=1)

    async def babbling(request: web.Request, _: Perform) -> web.Response:
        assert request.transport is not None
        request.transport.write(b"HTTP/9 what\r\n\r\n")
        request.transport.close()
        return web.Response()

    standin.fail(babbling)
    async with client(standin) as forge:
        with refused(ForgeUnavailable):
            await forge.pull(standin.address(shop), 1)


@pytest.mark.parametrize(
    "server", ["github.com", "ftp://github.com", "https://", "https://github.com/acme", "https://u:p@x"]
)
def test_what_is_no_server_is_said_at_once(server: str) -> None:
    with pytest.raises(InvalidInput, match="not a server's address"):
        GitHub(Token(TOKEN), Clock(), server=server)


@pytest.mark.parametrize(
    ("server", "api"),
    [
        ("https://github.com", "https://api.github.com/user"),
        ("https://GitHub.com/", "https://api.github.com/user"),
        ("https://acme.ghe.com", "https://api.acme.ghe.com/user"),
        ("https://git.example.com:8443", "https://git.example.com:8443/api/v3/user"),
    ],
)
def test_each_kind_of_server_has_its_api(server: str, api: str) -> None:
    assert str(Server(server).url("/user")) == api


# Limits


@pytest.mark.parametrize(
    ("fault", "low", "high"),
    [
        (faults.throttled(30), 30, 30),
        (faults.refused(403, "wait", {"Retry-After": "30"}), 30, 30),
        (faults.spent(1200), 1100, 1200),
        (faults.spent(-1200), 1, 1),
        (faults.spent(10**6), 3600, 3600),
        (faults.secondary(), 60, 60),
        (faults.refused(403, "You have triggered an abuse detection mechanism"), 60, 60),
        (faults.refused(429, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}), 60, 60),
    ],
)
async def test_after_a_limit_nothing_is_asked_until_it_is_over(fault: Fault, low: float, high: float) -> None:
    standin, shop = standin_with(pulls=1)
    standin.fail(fault, times=1)
    async with client(standin) as forge:
        with refused(ForgeThrottled) as caught:
            await forge.pull(standin.address(shop), 1)
        assert low <= caught.value.retry_after <= high
        for ask in (forge.open_pulls(standin.address(shop)), forge.comment(standin.address(shop), 1, "x")):
            with refused(ForgeThrottled, "used up") as again:
                await ask
            assert 0 < again.value.retry_after <= caught.value.retry_after
    assert standin.calls.total() == 1


async def test_the_last_request_of_the_hour_is_answered_and_no_other_made() -> None:
    standin, shop = standin_with(pulls=1)
    standin.fail(_last_of_the_hour, times=1)
    async with client(standin) as forge:
        assert (await forge.pull(standin.address(shop), 1)).pull.number == 1
        with refused(ForgeThrottled):
            await forge.pull(standin.address(shop), 1)
    assert standin.calls.total() == 1


async def test_a_right_that_is_missing_is_no_limit() -> None:
    standin, shop = standin_with(pulls=1)
    standin.fail(faults.refused(403, "Resource not accessible by personal access token"), times=1)
    async with client(standin) as forge:
        with refused(ForgeForbidden, "not accessible"):
            await forge.pull(standin.address(shop), 1)
        await forge.pull(standin.address(shop), 1)


async def test_writes_beyond_our_own_limit_are_not_sent() -> None:
    standin, shop = standin_with(pulls=1)
    async with client(standin, budget=WriteBudget((3, 60.0))) as forge:
        for number in range(3):
            await forge.comment(standin.address(shop), 1, str(number))
        with refused(ForgeThrottled, "our own limit") as caught:
            await forge.comment(standin.address(shop), 1, "one too many")
        assert 50 < caught.value.retry_after <= 60
        assert (await forge.pull(standin.address(shop), 1)).pull.number == 1
    assert standin.writes == 3


async def test_a_write_that_is_not_sent_is_not_counted() -> None:
    standin, shop = standin_with(pulls=1)
    standin.fail(faults.throttled(1), times=1)
    async with client(standin, budget=WriteBudget((2, 60.0))) as forge:
        for _ in range(10):
            with refused(ForgeThrottled):
                await forge.comment(standin.address(shop), 1, "too early")
        await asyncio.sleep(1)
        await forge.comment(standin.address(shop), 1, "now")
    assert [comment.body for comment in shop.pulls[1].comments] == ["now"]


# Pages


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        (2, faults.refused(404)),
        (2, faults.refused(500)),
        (2, faults.reset()),
        (3, faults.cut()),
        (2, faults.shortened()),
        (2, faults.emptied()),
        (3, faults.emptied()),
        (1, faults.skipping()),
        (2, faults.throttled(5)),
        (2, faults.linking("https://evil.example.com/repositories/1/pulls?page=3")),
        (2, faults.answered(200, {"message": "moved"})),
    ],
)
async def test_a_listing_of_which_a_page_is_missing_is_never_told_in_part(page: int, fault: Fault) -> None:
    standin, shop = standin_with(pulls=250)
    standin.fail(fault, template=PULLS, when=faults.on_page(page))
    async with client(standin) as forge:
        with refused(ForgeError):
            await forge.open_pulls(standin.address(shop))
        standin.heal()


async def test_a_proxy_that_drops_the_links_hides_no_page() -> None:
    standin, shop = standin_with(pulls=250)
    standin.fail(faults.without_links())
    async with client(standin) as forge:
        assert len(await forge.open_pulls(standin.address(shop))) == 250


async def test_a_listing_that_fills_its_last_page_is_told() -> None:
    standin, shop = standin_with(pulls=100)
    async with client(standin) as forge:
        assert len(await forge.open_pulls(standin.address(shop))) == 100


async def test_a_listing_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github_http, "PAGES", 2)
    standin, shop = standin_with(pulls=201)
    async with client(standin) as forge:
        with refused(ForgeUnavailable, "more than 2 pages"):
            await forge.open_pulls(standin.address(shop))


# What is known already


async def test_what_has_not_changed_is_neither_sent_nor_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    standin, shop = standin_with(pulls=3)
    async with client(standin) as forge:
        first = await forge.open_pulls(standin.address(shop))
        monkeypatch.setattr(github_http.Api, "decoded", _never)
        assert await forge.open_pulls(standin.address(shop)) == first
        assert standin.unchanged["GET", PULLS] == 1
        monkeypatch.undo()
        standin.label(shop.pulls[2], "preview")
        again = await forge.open_pulls(standin.address(shop))
        assert again[1].pull.traits is not None
        assert again[1].pull.traits.labels == {"preview"}
    assert (standin.calls["GET", PULLS], standin.unchanged["GET", PULLS]) == (3, 1)


async def test_a_long_listing_that_has_not_changed_costs_nothing() -> None:
    standin, shop = standin_with(pulls=250)
    async with client(standin) as forge:
        for _ in range(3):
            assert len(await forge.open_pulls(standin.address(shop))) == 250
    assert standin.calls["GET", PULLS] - standin.unchanged["GET", PULLS] == 3


def test_only_so_much_is_remembered_and_what_was_used_last_longest() -> None:
    memory = Memory(limit=3 * (1000 + ENTRY))
    one, two, three, four = [("token", URL(f"https://api.github.com/{number}"), Pull) for number in range(4)]
    for key in (one, two, three, one, four):
        memory.keep(key, Known("etag", Page(key), 1000))
    assert [key for key in (one, two, three, four) if memory.find(key)] == [one, three, four]
    memory.keep(two, Known("etag", Page(None), 10**9))
    assert not any(map(memory.find, (one, two, three, four)))
    memory.keep(one, Known("", Page(None), 10))
    assert not memory.find(one)


async def test_who_has_no_answer_to_come_back_to_takes_no_304() -> None:
    standin, shop = standin_with(pulls=1)
    standin.fail(faults.refused(304))
    async with client(standin) as forge:
        for ask in (forge.pull(standin.address(shop), 1), forge.edit_comment(standin.address(shop), 1, "x")):
            with refused(ForgeUnavailable, "answered 304"):
                await ask


async def _last_of_the_hour(_: web.Request, perform: Perform) -> web.Response:
    answer = perform()
    reset = int(datetime.now(UTC).timestamp()) + 600
    answer.headers.update({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(reset)})
    return answer


def _never(*_: object) -> object:
    raise AssertionError("it is decoded again")
