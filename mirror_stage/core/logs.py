"""The log: JSON on stderr. Each event is exactly one line, even when a hostname or a header holds line breaks."""

from __future__ import annotations

import json
import logging
import sys

from mirror_stage.core.budget import Budget
from mirror_stage.core.instants import to_text
from mirror_stage.core.names import printable


def to_line(event: dict[str, str]) -> str:
    """One line of JSON that is safe to show on a terminal."""
    return printable(json.dumps(event, ensure_ascii=False))


class JsonLines(logging.Formatter):
    """`{"at", "level", "logger", "message"}` and, for an exception, `"error"` with its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        event = {
            "at": to_text(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            event["error"] = self.formatException(record.exc_info)
        return to_line(event)


class Sparing(logging.Filter):
    """Lets only few lines through: a library logs every packet, and a client could fill the disk with that."""

    def __init__(self) -> None:
        super().__init__()
        self._budget, self._left_out = Budget(per_second=0.1, burst=10), 0

    def filter(self, record: logging.LogRecord) -> bool:
        if not self._budget.take(record.created):
            self._left_out += 1
            return False
        left_out, self._left_out = self._left_out, 0
        more = f" ({left_out} lines before this one were left out)" if left_out else ""
        record.msg, record.args = record.getMessage()[:_MESSAGE_MAX] + more, ()
        return True


_MESSAGE_MAX = 300


def configure(level: str = "info") -> None:
    """Send all log messages of this process to stderr as JSON lines. Calling it again changes the level."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.captureWarnings(True)
    for chatty in ("alembic", "apscheduler", "engineio", "socketio", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    for told_by_clients in ("engineio", "socketio"):
        logger = logging.getLogger(told_by_clients)
        logger.filters = [Sparing()]
