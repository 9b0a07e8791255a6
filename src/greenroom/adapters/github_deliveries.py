"""Webhook deliveries that failed, and having them sent again.

GitHub does not do so by itself ("Handling failed webhook deliveries"). Each attempt is listed for some days; attempts
for the same event share a GUID, so one that was received later needs no other. ``adapters.github`` says which lists.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from greenroom.adapters.github_credentials import Credentials
from greenroom.adapters.github_http import PAGES, PER_PAGE, Api
from greenroom.adapters.github_messages import Delivery
from greenroom.model.errors import ForgeThrottled

AT_ONCE = 100
"""How many are sent again at most, the oldest first. The others are there the next time."""


ATTEMPTS = 5
"""After so many an event is given up: it will not be received."""


@dataclass(frozen=True, slots=True)
class Log:
    """Where the deliveries of one webhook are listed, and who may look. ``path`` is quoted already."""

    path: str
    credentials: Credentials


async def redeliver(api: Api, log: Log, since: datetime) -> int:
    """Have what failed after ``since`` sent again; answers how many.

    When GitHub has had enough before all are, the others wait for the next time.
    """
    sent = 0
    for delivery in failed(await _deliveries(api, log, since))[:AT_ONCE]:
        try:
            await api.write("POST", f"{log.path}/{quote(str(delivery.id))}/attempts", log.credentials)
        except ForgeThrottled:
            if not sent:
                raise
            break
        sent += 1
    return sent


def failed(deliveries: Iterable[Delivery]) -> Sequence[Delivery]:
    """Of each event that was never received the newest attempt, the oldest event first. One under way is let be."""
    attempts = defaultdict[str, list[Delivery]](list)
    for delivery in deliveries:
        attempts[delivery.guid].append(delivery)
    hopeful = (tried for tried in attempts.values() if len(tried) < ATTEMPTS and not any(map(_was_received, tried)))
    newest = [max(tried, key=_when) for tried in hopeful]
    return sorted((delivery for delivery in newest if delivery.status.lower() != "pending"), key=_when)


async def _deliveries(api: Api, log: Log, since: datetime) -> Sequence[Delivery]:
    """All after ``since``. The list is newest first, its pages follow a cursor, and it can be very long."""
    found: list[Delivery] = []
    url = api.url(log.path, {"per_page": str(PER_PAGE)})
    for _ in range(PAGES):
        page = await api.page(url, list[Delivery], log.credentials)
        found.extend(delivery for delivery in page.value if delivery.delivered_at >= since)
        if page.next_url is None or any(delivery.delivered_at < since for delivery in page.value):
            break
        url = page.next_url
        api.check_led_to(url)
    return found


def _was_received(delivery: Delivery) -> bool:
    return 200 <= delivery.status_code < 300


def _when(delivery: Delivery) -> tuple[datetime, int]:
    return delivery.delivered_at, delivery.id
