"""Which format a client gets, and what is escaped in it."""

from __future__ import annotations

import pytest
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from mirror_stage.figures.text import OPENMETRICS, PLAIN, chosen_format, head, label, labels

PROMETHEUS_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", PLAIN),
        ("*/*", PLAIN),
        ("text/html,application/xhtml+xml,*/*;q=0.8", PLAIN),
        ("text/plain", PLAIN),
        ("application/openmetrics-text", OPENMETRICS),
        ("Application/OpenMetrics-Text; Version=1.0.0", OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", OPENMETRICS),
        ("application/openmetrics-text; version=0.0.1, text/plain;q=0.5", PLAIN),
        ("application/openmetrics-text;q=0", PLAIN),
        ("application/openmetrics-text;q=0.2, text/plain;q=0.9", PLAIN),
        ("text/plain;q=0.2, application/openmetrics-text;q=0.9", OPENMETRICS),
        ("application/json", PLAIN),
        (PROMETHEUS_2, OPENMETRICS),
        (PROMETHEUS_3, OPENMETRICS),
    ],
)
def test_a_client_gets_the_format_that_it_prefers(accept: str, form: str) -> None:
    assert chosen_format(parse_accept_header(accept, MIMEAccept)) == form


def test_what_ends_a_value_or_a_line_is_escaped() -> None:
    assert label("a", 'C:\\new "disk"\n2') == r'a="C:\\new \"disk\"\n2"'
    assert label("a", "디스크 é") == 'a="디스크 é"'


def test_an_unknown_label_is_left_out() -> None:
    assert labels({"a": "1", "b": None, "c": "", "d": "2"}) == 'a="1",d="2"'


def test_only_the_samples_of_a_counter_end_in_total_in_openmetrics() -> None:
    assert head("a_total", "counter", "What\nit is.", PLAIN) == "# HELP a_total What\\nit is.\n# TYPE a_total counter\n"
    assert head("a_total", "counter", "x", OPENMETRICS) == "# HELP a x\n# TYPE a counter\n"
    assert head("a_total", "gauge", "x", OPENMETRICS).startswith("# HELP a_total")
