"""What the gateway itself answers: no such environment, one that is being built, starts, has failed, or is silent.

Pages are whole in themselves: a gateway in front of a broken environment has nowhere to load a style sheet from. They
are Envoy format strings, so ``%NAME%`` is filled in by Envoy and a plain per cent sign is written twice. What is said
of one environment, its notice, travels as metadata of its virtual host: Envoy fills it into the one page that all
share, and takes nothing in it for a command. ``core.notices`` makes notices of PR objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from greenroom.core.envoy_cluster import METADATA
from greenroom.model.manifest import Json
from greenroom.model.routes import Notice, State

REFRESH_SECONDS = 3
"""How soon a browser looks again whether an environment has started."""
_FAILED_SECONDS = 15
"""The same for one that has failed, which takes somebody's work."""
_MESSAGE_LIMIT = 600
_SHORT = 7

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 38rem; margin: 15vh auto 0; padding: 0 1.5rem }}
h1 {{ font-size: 1.4rem; border-left: .3rem solid #2e9e5b; padding-left: .8rem }}
h1.Failed {{ border-color: #c8442f }}
code {{ font: .9em ui-monospace, monospace; overflow-wrap: anywhere }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.2rem }}
dt {{ opacity: .6 }}
dd {{ margin: 0; overflow-wrap: anywhere }}
footer {{ margin-top: 3rem; opacity: .6; font-size: .85rem }}
</style>
</head>
<body>
<h1 class="{state}">{title}</h1>
{body}
<footer>Greenroom</footer>
</body>
</html>
"""

_TITLES: Mapping[State, str] = {
    State.BUILDING: "This environment is being built",
    State.STARTING: "This environment is starting",
    State.FAILED: "This environment has failed",
}


def not_found() -> str:
    """The 404 page. It names the host asked for: Envoy lets no character through there that could begin a tag."""
    body = (
        "<p>Nothing is served at <code>%REQ(:AUTHORITY)%</code>.</p>\n"
        "<p>The pull request may be closed, or its environment has not been made yet. "
        "<code>greenroom get prs</code> lists those that exist.</p>"
    )
    return _PAGE.format(title="There is no environment here", body=body, state="NotFound")


def not_answering() -> str:
    """The 503 page of an environment of which nothing is known, which a browser loads again by itself."""
    body = (
        f"<p>It is starting, or it has failed. This page tries again every {REFRESH_SECONDS} seconds.</p>\n"
        "<p><code>greenroom get prs</code> says which, and why.</p>"
    )
    return _PAGE.format(title="This environment does not answer", body=body, state="NotAnswering")


def noticed() -> str:
    """The 503 page of an environment with a notice."""
    return _PAGE.format(title=_from_notice("title"), body=_from_notice("html"), state=_from_notice("state"))


def metadata(notice: Notice) -> dict[str, Json]:
    """The notice as a virtual host carries it. Only ``html`` and ``title`` go into the page, and are escaped."""
    title, message = _TITLES[notice.state], _clean(notice.message)[:_MESSAGE_LIMIT]
    return {
        "title": title,
        "html": _details(notice, message),
        "refresh": str(refresh_seconds(notice)),
        "state": notice.state.value,
        "environment": _clean(notice.environment),
        "commit": _clean(notice.commit),
        "reason": _clean(notice.reason),
        "message": message,
        "text": ": ".join(part for part in (title, message) if part),
        "logs": _logs(notice),
    }


def refresh_seconds(notice: Notice) -> int:
    return _FAILED_SECONDS if notice.state is State.FAILED else REFRESH_SECONDS


def _details(notice: Notice, message: str) -> str:
    label = "why" if notice.state is State.FAILED else "waits for"
    rows = {
        "environment": f"<code>{escape(_clean(notice.environment))}</code>",
        "commit": f"<code>{escape(_clean(notice.commit)[:_SHORT])}</code>" if notice.commit else "",
        label: escape(message),
        "logs": f"<code>{escape(_logs(notice))}</code>",
    }
    listed = "\n".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows.items() if value)
    return f"<dl>\n{listed}\n</dl>\n<p>This page tries again every {refresh_seconds(notice)} seconds.</p>"


def _logs(notice: Notice) -> str:
    return f"greenroom logs pr/{_clean(notice.environment)} -n {_clean(notice.namespace)}"


def _clean(text: str) -> str:
    """``text`` on one line, as protocol buffers can carry it."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable.encode("utf-8", "replace").decode()


def _from_notice(field: str) -> str:
    return f"%METADATA(VIRTUAL_HOST:{METADATA}:{field})%"


_ASKED_FOR = "%REQ(X-ENVOY-ORIGINAL-HOST?:AUTHORITY)%"

NOT_FOUND_TEXT = "There is no environment here: see 'greenroom get prs'."
NOT_ANSWERING_TEXT = "This environment is starting or has failed: see 'greenroom get prs'."
NOTICED_TEXT = _from_notice("text")

NOT_FOUND_JSON: Mapping[str, Json] = {"error": "NotFound", "message": NOT_FOUND_TEXT, "host": "%REQ(:AUTHORITY)%"}
NOT_ANSWERING_JSON: Mapping[str, Json] = {"error": "NotAnswering", "message": NOT_ANSWERING_TEXT, "host": _ASKED_FOR}
NOTICED_JSON: Mapping[str, Json] = {
    "error": _from_notice("state"),
    **{field: _from_notice(field) for field in ("reason", "message", "environment", "commit", "logs")},
    "host": _ASKED_FOR,
}
NOTICED_REFRESH = _from_notice("refresh")
