"""Deliveries of webhooks that failed, sent again."""

from __future__ import annotations

from datetime import timedelta

from tests.github.client import Clock, client, keys
from tests.github.standin import StandIn

from greenroom.adapters.github_credentials import App

HOOK = "https://hooks.example.com/github"


async def test_what_failed_and_was_not_received_since_is_sent_again() -> None:
    standin = StandIn()
    shop = standin.repository()
    hook, other = standin.hook(shop, HOOK), standin.hook(shop, "https://elsewhere.example.com/")
    standin.hook(shop, HOOK).active = False
    hour = timedelta(hours=1)
    lost = standin.deliver(hook, 502, ago=hour)
    standin.deliver(hook, 500, guid="twice", ago=2 * hour)
    standin.deliver(hook, 0, guid="twice", ago=hour)
    standin.deliver(hook, 500, guid="healed", ago=2 * hour)
    standin.deliver(hook, 202, guid="healed", ago=hour)
    standin.deliver(hook, 500, guid="under way", ago=2 * hour)
    standin.deliver(hook, 0, guid="under way", ago=hour, status="pending")
    standin.deliver(hook, 500, guid="old", ago=30 * hour)
    standin.deliver(other, 500, ago=hour)
    async with client(standin) as forge:
        assert await forge.redeliver(standin.address(shop), HOOK, timedelta(days=1)) == 2
        assert await forge.redeliver(standin.address(shop), HOOK, timedelta(days=1)) == 0
    again = [delivery.guid for delivery in hook.deliveries if delivery.redelivery]
    assert again == [lost.guid, "twice"]
    assert not any(delivery.redelivery for delivery in other.deliveries)


async def test_deliveries_are_looked_through_as_far_back_as_asked_for() -> None:
    standin = StandIn()
    shop = standin.repository()
    hook = standin.hook(shop, HOOK)
    for number in range(450):
        standin.deliver(hook, 500 if number in (150, 420) else 200, ago=timedelta(minutes=number))
    async with client(standin) as forge:
        assert await forge.redeliver(standin.address(shop), HOOK, timedelta(minutes=220)) == 1
    assert standin.calls["GET", "/repos/{owner}/{repo}/hooks/{hook_id}/deliveries"] == 3


async def test_at_most_a_hundred_are_sent_again_at_once_and_no_more_than_writes_are_left() -> None:
    standin = StandIn(checked=False)
    shop = standin.repository()
    hook = standin.hook(shop, HOOK)
    for number in range(150):
        standin.deliver(hook, 500, guid=str(number), ago=timedelta(minutes=200 - number))
    async with client(standin) as forge:
        assert await forge.redeliver(standin.address(shop), HOOK, timedelta(days=1)) == 80
    assert [delivery.guid for delivery in hook.deliveries if delivery.redelivery] == [str(n) for n in range(80)]


async def test_what_is_refused_again_and_again_is_given_up() -> None:
    standin = StandIn()
    shop = standin.repository()
    hook = standin.hook(shop, HOOK)
    hook.receive = lambda _: 500
    standin.deliver(hook, 500, ago=timedelta(hours=1))
    async with client(standin) as forge:
        sent = [await forge.redeliver(standin.address(shop), HOOK, timedelta(days=1)) for _ in range(8)]
    assert sent == [1, 1, 1, 1, 0, 0, 0, 0]


async def test_the_deliveries_of_an_app_are_looked_at_once_an_hour_however_many_repositories_it_serves() -> None:
    private, public = keys()
    clock = Clock()
    standin = StandIn(now=clock.now, checked=False)
    shops = [standin.repository(f"acme/shop{number}") for number in range(5)]
    app = standin.install_app(public, *shops, hook=HOOK)
    standin.deliver(app.hook, 500, ago=timedelta(minutes=5))
    async with client(standin, App(str(app.id), private), clock=clock) as forge:
        sent = [await forge.redeliver(standin.address(shop), HOOK, timedelta(days=1)) for shop in shops]
        assert (sum(sent), standin.calls["GET", "/app/hook/deliveries"]) == (1, 1)
        clock.later = timedelta(hours=1)
        for shop in shops:
            await forge.redeliver(standin.address(shop), HOOK, timedelta(days=1))
        assert standin.calls["GET", "/app/hook/deliveries"] == 2
