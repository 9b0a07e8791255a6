"""Where log lines go, one JSON object a line: into a file that does not grow without end, or to standard output."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

import structlog

MAX_BYTES = 5 * 1024 * 1024
"""Size at which the file is put aside; one older file is kept."""


class _LogFile(RotatingFileHandler):
    """A log that cannot be written, on a full disk, must neither fill the terminal with tracebacks nor end anything."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        """Drop the line: what matters is told elsewhere too."""

    def close(self) -> None:
        with suppress(OSError):  # what was not written yet
            super().close()


def log_to(path: Path) -> AbstractContextManager[None]:
    """Log into ``path`` while the block runs: our own lines through structlog, and those of libraries."""
    return _logging(_LogFile(path, maxBytes=MAX_BYTES, backupCount=1, encoding="utf-8"))


def log_to_stdout() -> AbstractContextManager[None]:
    """The same to standard output, where a cluster's log collector looks."""
    return _logging(logging.StreamHandler(sys.stdout))


@contextmanager
def _logging(handler: logging.Handler) -> Iterator[None]:
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
        handler.close()
        structlog.reset_defaults()
