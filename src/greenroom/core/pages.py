"""What the gateway itself answers: no such environment, and an environment that does not answer.

Pages are whole in themselves: a gateway in front of a broken environment has nowhere to load a style sheet from. They
are Envoy format strings, so ``%NAME%`` is filled in by Envoy and a plain per cent sign is written twice.
"""

from __future__ import annotations

REFRESH_SECONDS = 3
"""How soon a browser looks again whether an environment has started."""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 36rem; margin: 15vh auto 0; padding: 0 1.5rem }}
h1 {{ font-size: 1.4rem; border-left: .3rem solid #2e9e5b; padding-left: .8rem }}
code {{ font: .9em ui-monospace, monospace }}
footer {{ margin-top: 3rem; opacity: .6; font-size: .85rem }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
<footer>Greenroom</footer>
</body>
</html>
"""


def not_found() -> str:
    """The 404 page. It names the host asked for: Envoy lets no character through there that could begin a tag."""
    body = (
        "<p>Nothing is served at <code>%REQ(:AUTHORITY)%</code>.</p>\n"
        "<p>The pull request may be closed, or its environment has not been made yet. "
        "<code>greenroom get prs</code> lists those that exist.</p>"
    )
    return _PAGE.format(title="There is no environment here", body=body)


def not_answering() -> str:
    """The 503 page, which a browser loads again by itself."""
    body = (
        f"<p>It is starting, or it has failed. This page tries again every {REFRESH_SECONDS} seconds.</p>\n"
        "<p><code>greenroom get prs</code> says which, and why.</p>"
    )
    return _PAGE.format(title="This environment does not answer", body=body)


NOT_FOUND_JSON = {
    "error": "NotFound",
    "message": "There is no environment here: see 'greenroom get prs'.",
    "host": "%REQ(:AUTHORITY)%",
}
NOT_ANSWERING_JSON = {
    "error": "NotAnswering",
    "message": "This environment is starting or has failed: see 'greenroom get prs'.",
    "host": "%REQ(X-ENVOY-ORIGINAL-HOST?:AUTHORITY)%",
}
