"""What is in the log, for whoever looks for the cause of something."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import structlog

from greenroom.app.logs import log_to

log = structlog.get_logger("greenroom.test")


def test_a_line_is_a_json_object_with_time_level_name_and_context(tmp_path: Path) -> None:
    file = tmp_path / "log"
    with log_to(file), structlog.contextvars.bound_contextvars(delivery="d-1"):
        log.info("delivery handled", number=7)
        log.debug("not worth a line")
        logging.getLogger("library").warning("careful with %s", "that")
    ours, theirs = map(json.loads, file.read_text().splitlines())
    assert (ours["event"], ours["level"], ours["logger"], ours["number"], ours["delivery"]) == (
        "delivery handled", "info", "greenroom.test", 7, "d-1",
    )  # fmt: skip
    assert ours["timestamp"].endswith("Z")
    assert (theirs["event"], theirs["level"], theirs["delivery"]) == ("careful with that", "warning", "d-1")


def test_an_exception_is_told_with_where_it_happened(tmp_path: Path) -> None:
    with log_to(tmp_path / "log"):
        try:
            int("no number")
        except ValueError:
            log.exception("it crashed")
    line = json.loads((tmp_path / "log").read_text())
    assert "test_logs.py" in line["exception"]
    assert "ValueError: invalid literal" in line["exception"]


def test_afterwards_everything_is_as_it_was(tmp_path: Path) -> None:
    before = logging.getLogger().level, list(logging.getLogger().handlers)
    with log_to(tmp_path / "log"):
        pass
    assert (logging.getLogger().level, logging.getLogger().handlers) == before
