"""What is left of long text before it is shown."""

from __future__ import annotations

import time

import pytest

from greenroom.core.excerpt import LENGTH, LINES, TOTAL, excerpt, message

TOKEN = "ghp_" + "Zq7" * 12
KEY = ["-----BEGIN RSA PRIVATE KEY-----", *["MIIEpAIBAAKC" * 5] * 40, "-----END RSA PRIVATE KEY-----"]


def test_what_is_short_is_shown_whole() -> None:
    assert excerpt(["", "one", "  two", ""]) == ["one", "  two"]
    assert excerpt([]) == [""]
    assert message("it is full") == "it is full"


def test_the_last_lines_are_kept() -> None:
    assert excerpt([str(number) for number in range(1000)]) == [str(number) for number in range(1000 - LINES, 1000)]


def test_of_many_long_lines_the_last_are_kept_and_together_they_are_not_much() -> None:
    found = excerpt([f"{number} " + "y" * 50_000 for number in range(LINES)])
    assert found[-1].startswith(f"{LINES - 1} yyy")
    assert sum(map(len, found)) <= TOTAL


@pytest.mark.parametrize("shown", range(5, 20))
def test_of_a_secret_at_the_cut_nothing_is_shown_though_a_mask_moves_it_forward(shown: int) -> None:
    line = "token=".ljust(LENGTH - shown - 1, "x") + " " + TOKEN + " and more" * 1000
    for found in ("\n".join(excerpt([line, "boom"])), message(line)):
        assert found.startswith(("…", "token=***"))
        assert "ghp_" not in found


def test_a_key_of_many_lines_is_masked_and_what_follows_is_shown() -> None:
    assert excerpt([*KEY, "boom"]) == ["***", "boom"]
    assert excerpt(["\\n".join(KEY), "boom"]) == ["***", "boom"]


@pytest.mark.parametrize("part", ["://", "a=", "-----BEGIN", "eyJ.", "\x1b[", "text "])
def test_a_mebibyte_takes_no_longer_than_a_log_of_usual_size(part: str) -> None:
    def seconds(lines: list[str]) -> float:
        began = time.process_time()
        excerpt(lines)
        message(lines[0])
        return time.process_time() - began

    usual = seconds(["the server has started; " * 5] * LINES)
    assert seconds([part * ((1 << 20) // len(part))]) < 10 * usual + 0.2
