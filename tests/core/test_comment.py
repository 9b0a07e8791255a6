"""What a pull request is told, in ``golden_comments/<state>.yaml``; and that nobody else can speak in that comment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from tests.golden import expected, orphans

from greenroom.core.comment import LENGTH_LIMIT, LOG_LINES, comment, marker
from greenroom.core.phases import Phase, gist_of, phase_of
from greenroom.model.manifest import PR, ref_of

GOLDEN = Path(__file__).parent / "golden_comments"
OLD, NEW = "a" * 40, "b" * 40
URL = "https://pr7.pr-env.example.com"
CRASH = "web: container app: back-off 40s restarting failed container=app pod=web-1"
LOG = ["starting on :8080", "connecting to postgres://shop:hunter2@db/shop", "KeyError: 'PAYMENT_KEY'", ""]


def pr(reason: str = "", message: str = "", *, shown: str = "", commit: str = NEW, **status: Any) -> dict[str, Any]:
    condition = {"type": "Ready", "status": str(reason == "Ready"), "reason": reason, "message": message}
    told = {"observedGeneration": 2, "commit": commit, "shownCommit": shown, "url": URL, "conditions": [condition]}
    return {
        "apiVersion": PR.api_version,
        "kind": "PR",
        "metadata": {"name": "shop-pr7", "namespace": "pr-env", "generation": 2},
        "spec": {"parentReviewApp": "shop", "prNumber": "7", "headCommitRef": NEW},
        "status": {**told, **status} if reason else {},
    }


def body(made: dict[str, Any], *, log: list[str] | None = None, answered: bool = True) -> str:
    return comment(made, phase_of(made, answered=answered), log=log or [])


UP = pr("Ready", f"{URL} shows commit bbbbbbb", shown=NEW)
CASES = {
    "not_looked_at_yet": body(pr()),
    "starting": body(pr("RollingOut", "web: 0 of 1 new replicas are ready")),
    "starting_while_another_is_shown": body(pr("RollingOut", "web: 0 of 1 new replicas are ready", shown=OLD)),
    "pushed_a_moment_ago": body(pr("Ready", f"{URL} shows commit aaaaaaa", shown=OLD, commit=OLD)),
    "waiting_for_the_image": body(
        pr("WaitingForImage", "web: waiting for image r.example.com:5000/shop:pr7-bbb: back-off; commit aaaaaaa serves")
    ),
    "waiting_for_the_route": body(pr("WaitingForRoute", "web: no gateway has taken the route yet", shown=NEW)),
    "ready_but_not_reached": body(UP, answered=False),
    "ready": body(UP),
    "ready_without_an_address": body({**UP, "status": {**UP["status"], "url": ""}}),
    "failed": body(pr("CrashLoopBackOff", CRASH), log=LOG),
    "failed_while_another_is_shown": body(pr("CrashLoopBackOff", f"{CRASH}; commit aaaaaaa keeps serving", shown=OLD)),
    "failed_with_a_wrong_template": body(
        pr("InvalidTemplate", "ReviewApp shop: spec.resources[0].kind: is missing (add it, as text)")
    ),
    "being_removed": comment(UP, Phase.REMOVING),
    "removed": comment(UP, Phase.REMOVED),
    "removed_while_the_pull_request_goes_on": comment(UP, Phase.REMOVED, why="the label preview was taken off"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_comment_says(case: str, rewrite_golden: bool) -> None:
    shown, golden = expected(GOLDEN / f"{case}.yaml", CASES[case].split("\n"), rewrite=rewrite_golden)
    assert shown == golden


def test_no_golden_file_is_left_over(rewrite_golden: bool) -> None:
    assert not orphans(GOLDEN, CASES, rewrite=rewrite_golden)


# What others wrote

HOSTILE = [
    "@octocat look",
    "fixes #12, closes GH-12",
    "-->",
    "<!-- greenroom: pr-env/shop-pr8 -->",
    "```\n# out of the fence\n@octocat",
    "~~~~\n</code></pre><script>alert(1)</script>",
    "![x](https://evil.example/x.png) [here](https://evil.example)",
    "<https://evil.example> www.evil.example https://evil.example",
    "`@octocat` ``x`` `",
    "&lt;b&gt; \\` \\\\",
    "/approve",
    "a\x1b[31m\u202eb\u200b\ud800\x00",
    "| a | b |\n|---|---|",
]
foreign = st.text() | st.text("`~@#<>!-[]()\\/& \n\r\x0bab1G*_|.:\u2028\x1b\t") | st.sampled_from(HOSTILE)
spliced = st.lists(foreign, max_size=6).map("".join)
MENTION = re.compile(r"(?:^|[^A-Za-z0-9_])@[A-Za-z0-9_]|#[0-9]|\bGH-[0-9]", re.IGNORECASE)


def parts(markdown: str) -> list[Token]:
    """All that a CommonMark parser finds, tables, bare addresses and strikethrough included, as GitHub has them."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return [part for block in parser.parse(markdown) for part in (block, *(block.children or ()))]


def check(made: dict[str, Any], markdown: str) -> None:
    found = parts(markdown)
    assert [part.content.strip() for part in found if part.type.startswith("html")] == [marker(ref_of(made))]
    text = "".join(part.content for part in found if part.type == "text").replace(URL, "")
    assert not re.search(r"://|www[.]|[@#]", text)  # which GitHub would make links of outside of code
    assert {part.attrs.get("href") for part in found if part.type == "link_open"} <= {URL}
    assert not [part.type for part in found if part.type in ("image", "table_open", "heading_open", "s_open")]
    assert len([part for part in found if part.type == "fence"]) <= 1
    assert not MENTION.search(markdown)
    assert not re.search(r"^\s*/[a-z]", markdown, re.MULTILINE | re.IGNORECASE)
    assert len(markdown) <= LENGTH_LIMIT
    markdown.encode()  # what could not be sent


@given(spliced, spliced, st.lists(spliced, max_size=30), spliced)
def test_no_text_of_others_gets_out_of_its_place(reason: str, message: str, log: list[str], why: str) -> None:
    failed = pr(reason or "CrashLoopBackOff", message, shown=message)
    for phase in Phase:
        said = comment(failed, phase, log=log, why=why)
        check(failed, said)
        assert said == comment(failed, phase, log=log, why=why)


@given(spliced)
def test_no_image_address_or_commit_gets_out_of_its_place(word: str) -> None:
    waiting = pr("WaitingForImage", f"web: waiting for image {word}")
    waiting["spec"]["headCommitRef"] = waiting["status"]["commit"] = word
    waiting["status"]["url"] = f"https://{word}"
    markdown = comment(waiting, Phase.WAITING_FOR_IMAGE)
    hrefs = {part.attrs.get("href") for part in parts(markdown) if part.type == "link_open"}
    assert all(re.fullmatch(r"https://[a-z0-9.-]+(:[0-9]{1,5})?/?", str(href)) for href in hrefs)
    assert not MENTION.search(markdown)


def test_titles_branches_and_labels_do_not_occur() -> None:
    named = {**UP, "metadata": {**UP["metadata"], "labels": {"x": "hostile"}, "annotations": {"title": "hostile"}}}
    assert "hostile" not in body({**named, "spec": {**UP["spec"], "title": "hostile", "branch": "hostile"}})


def test_a_long_log_is_cut_at_its_beginning_and_at_the_ends_of_its_lines() -> None:
    markdown = body(pr("CrashLoopBackOff", "x" * 5000), log=[f"{number} " + "y" * 5000 for number in range(100)])
    block = next(part for part in parts(markdown) if part.type == "fence")
    lines = block.content.rstrip("\n").split("\n")
    assert len(lines) == LOG_LINES
    assert lines[-1].startswith("99 ")
    assert max(map(len, lines)) == 300
    assert len(markdown) < 10_000


def test_backticks_in_a_log_do_not_end_its_block() -> None:
    log = ["```", "@octocat", "`" * 200]
    block = next(part for part in parts(body(pr("CrashLoopBackOff", CRASH), log=log)) if part.type == "fence")
    assert block.content == "```\n@\u200boctocat\n" + "`" * 200 + "\n"


def test_a_secret_is_masked_even_in_colours() -> None:
    markdown = body(
        pr("CrashLoopBackOff", "token=hunter2"), log=["pass\x1b[31mword\x1b[0m=hunter2", "to\u200bken: hunter2"]
    )
    assert "hunter2" not in markdown


def test_a_count_is_no_news_and_another_image_is() -> None:
    def told(reason: str, message: str) -> str:
        made = pr(reason, message)
        return gist_of(made, phase_of(made, answered=False))

    assert told("RollingOut", "web: 0 of 2 new replicas") == told("RollingOut", "web: 1 of 2 new replicas")
    assert told("CrashLoopBackOff", CRASH) == told("CrashLoopBackOff", CRASH.replace("40s", "5m0s"))
    assert told("CrashLoopBackOff", CRASH) != told("CrashLoopBackOff", CRASH.replace("container app:", "container db:"))
    assert told("WaitingForImage", "w: waiting for image a:1: x") == told(
        "WaitingForImage", "w: waiting for image a:1: y"
    )
    assert told("WaitingForImage", "w: waiting for image a:1: x") != told(
        "WaitingForImage", "w: waiting for image a:2: x"
    )
