"""The log: one event is one line of JSON, whatever is in it."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys

import pytest

from mirror_stage.core.logs import JsonLines
from tests.servers import ROOT

HOSTILE = {
    "newlines": 'titan\r\n{"level": "error"}\nforged',
    "escape sequence": "\x1b[2J\x1b]0;owned\x07\x1b]8;;http://x\x1b\\link",
    "C1 controls": "\x80\x85\x9b31m\x9d",
    "delete and NUL": "a\x7f\x00b",
    "line separators": "a\u2028b\u2029c",
    "bidi": "\u202etxt.exe\u202c \u2066a\u2069 \u200f \u061c",
    "lone surrogate": "\ud800 and \udfff",
    "tag characters": "\U000e0041\U000e007f",
    "quotes": '"\\"\', {}',
}


def logged(log_it: object) -> list[str]:
    """The lines that a fresh logger writes while `log_it(logger)` runs."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.Logger("mirror_stage.somewhere")
    logger.addHandler(handler)
    log_it(logger)  # type: ignore[operator]
    return stream.getvalue().split("\n")


def test_an_event_has_its_time_level_logger_and_message() -> None:
    line, end = logged(lambda log: log.warning("%s is stale", "titan-01"))
    event = json.loads(line)
    assert end == ""
    assert event.pop("at").endswith("Z")
    assert event == {"level": "warning", "logger": "mirror_stage.somewhere", "message": "titan-01 is stale"}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_stays_on_one_harmless_line(text: str) -> None:
    line, end = logged(lambda log: log.info("host %s", text))
    assert end == ""
    assert line.isprintable()
    assert json.loads(line)["message"] == f"host {text}"


def test_korean_stays_readable() -> None:
    line, _ = logged(lambda log: log.info("서버실 랙 1"))
    assert "서버실 랙 1" in line


def test_an_error_and_its_traceback_are_one_line() -> None:
    def fail(log: logging.Logger) -> None:
        try:
            raise ValueError("\x1b[31mred\nline")
        except ValueError:
            log.exception("it failed")

    line, end = logged(fail)
    assert end == ""
    assert line.isprintable()
    assert "Traceback" in json.loads(line)["error"]
    assert "test_logs.py" in json.loads(line)["error"]


def test_all_log_lines_of_a_process_from_the_set_level_go_to_stderr() -> None:
    program = (
        "import logging, warnings; from mirror_stage.core import logs; logs.configure('warning');"
        "logging.getLogger('mirror_stage.x').info('quiet'); logging.getLogger('other').error('loud');"
        "warnings.warn('careful'); logs.configure('debug'); logging.getLogger('mirror_stage.x').debug('now')"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    events = [json.loads(line) for line in run.stderr.splitlines()]
    assert run.stdout == ""
    assert [event["logger"] for event in events] == ["other", "py.warnings", "mirror_stage.x"]
