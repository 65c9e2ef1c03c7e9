"""The issuer's log: one JSON object a line, on stderr."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

__all__ = ["JsonLines", "log_to_stderr"]


class JsonLines(logging.Formatter):
    """Writes a record's message and its ``fields`` as one line; anything else of it is left out."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        made = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {"time": made, "level": record.levelname.lower(), "event": record.getMessage()}
        return json.dumps(line | getattr(record, "fields", {}), ensure_ascii=True)


def log_to_stderr() -> None:
    """Send the log ``vaultstore.issuer`` to stderr, and nowhere else."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    log = logging.getLogger("vaultstore.issuer")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
