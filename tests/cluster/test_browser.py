"""A real browser resolves ``pr1.localhost`` by itself and shows what a visitor sees."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

from tests.e2e.shop import Shop, shop_in

QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)


async def page(shop: Shop, host: str, profile: Path) -> str:
    """The document that Chromium made of an address, after its styles and scripts."""
    url = f"http://{host}:{shop.machine.gateway_port}/"
    browser = await asyncio.create_subprocess_exec(
        # Chromium's own sandbox does not work for root, who runs these tests.
        *("chromium", "--headless", "--no-sandbox", *QUIET, f"--user-data-dir={profile}", "--dump-dom", url),
        stdout=PIPE,
        stderr=DEVNULL,
    )
    output, _ = await asyncio.wait_for(browser.communicate(), 40)
    return output.decode()


async def test_a_browser_shows_the_commit_and_then_that_it_is_gone(tmp_path: Path) -> None:
    async with shop_in(tmp_path) as shop:
        pull = await shop.forge.open("blue-title")
        await shop.until_shown(1, pull.head)
        assert f"<code>{pull.head}</code>" in await page(shop, "pr1.localhost", tmp_path / "profile")
        commit = await shop.change("blue-title", "The shop", "The new shop")
        await shop.forge.push(1)
        await shop.until_shown(1, commit)
        assert '<h1 style="color: #2e5c9a">The new shop</h1>' in await page(shop, "pr1.localhost", tmp_path / "profile")
        await shop.forge.close(1)
        await shop.until_status("pr1.localhost", 404)
        gone = await page(shop, "pr1.localhost", tmp_path / "profile")
        assert "There is no environment here" in gone
        assert f"pr1.localhost:{shop.machine.gateway_port}" in gone
