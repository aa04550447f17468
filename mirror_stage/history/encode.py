"""Encodes the answers of the history for the wire, piece by piece: JSON in columns, CSV in rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

from mirror_stage.core.instants import to_text
from mirror_stage.history.domain import Window
from mirror_stage.history.service import Page, Question

PIECE = 2_000  # values in one piece; other requests run between two pieces (`routes.py`)


def json_of_host(hostname: str, asked: Question, answer: Page) -> Iterator[bytes]:
    """The answer for one host, in JSON."""
    yield from _head({"hostname": hostname}, asked.window)
    yield b',"metrics":'
    yield from _metrics(answer.columns_by_name[hostname])
    yield b"}"


def json_of_many(asked: Question, answer: Page) -> Iterator[bytes]:
    """The answer for several hosts or for groups, in JSON."""
    key, list_name = ("hostname", "hosts") if asked.group_by is None else ("group", "groups")
    start_of_all: dict[str, Any] = {} if asked.group_by is None else {"groupBy": asked.group_by}
    yield from _head(start_of_all | {"unknownHosts": asked.unknown}, asked.window)
    yield b',"' + list_name.encode() + b'":['
    members = list((asked.group_by_host or {}).values())
    for number, (name, columns) in enumerate(answer.columns_by_name.items()):
        start: dict[str, Any] = {key: name} if asked.group_by is None else {key: name, "hosts": members.count(name)}
        yield (b"," if number else b"") + orjson.dumps(start)[:-1] + b',"metrics":'
        yield from _metrics(columns)
        yield b"}"
    yield b"]}"


def _head(start: dict[str, Any], window: Window) -> Iterator[bytes]:
    start |= {
        "from": to_text(window.since * 1000),
        "to": to_text(window.until * 1000),
        "stepSeconds": window.step_seconds,
        "resolution": window.resolution.name,
    }
    yield orjson.dumps(start)[:-1] + b',"t":'
    yield from _list(range(window.since, window.until, window.step_seconds), lambda second: to_text(second * 1000))


def _metrics(columns: dict[str, dict[str, list[float | None]]]) -> Iterator[bytes]:
    yield b"{"
    for number, (metric, statistics) in enumerate(columns.items()):
        yield (b"," if number else b"") + orjson.dumps(metric) + b":{"
        for n, (statistic, values) in enumerate(statistics.items()):
            yield (b"," if n else b"") + orjson.dumps(statistic) + b":"
            yield from _list(values)
        yield b"}"
    yield b"}"


def _list(values: Sequence[Any], of_each: Callable[[Any], Any] | None = None) -> Iterator[bytes]:
    yield b"["
    for first in range(0, len(values), PIECE):
        part = values[first : first + PIECE]
        yield (b"," if first else b"") + orjson.dumps(part if of_each is None else [*map(of_each, part)])[1:-1]
    yield b"]"


BOM = "\ufeff".encode()


def csv_of(asked: Question, pages: Iterator[Page], *, with_bom: bool) -> Iterator[bytes]:
    """A header line, then one line per instant and host or group that has a value there.

    With a byte order mark before it Excel reads UTF-8, and so Korean.
    """
    label = [] if len(asked.names) == 1 and asked.group_by is None else [asked.group_by or "hostname"]
    names = [f"{metric.name}_{statistic}" for metric in asked.metrics for statistic in asked.statistics]
    yield (BOM if with_bom else b"") + _lines([["time", *label, *names]])
    for page in pages:
        yield _lines(_rows(page, bool(label)))


def _rows(page: Page, is_labelled: bool) -> Iterator[list[Any]]:
    lists = {
        name: [values for statistics in metrics.values() for values in statistics.values()]
        for name, metrics in page.columns_by_name.items()
    }
    averages = {  # the first statistic of each metric; None where the host or group has no value
        name: [next(iter(statistics.values())) for statistics in metrics.values()]
        for name, metrics in page.columns_by_name.items()
    }
    for n, second in enumerate(range(page.window.since, page.window.until, page.window.step_seconds)):
        for name, columns in lists.items():
            if any(values[n] is not None for values in averages[name]):
                label = [_harmless(name)] if is_labelled else []
                yield [to_text(second * 1000), *label, *(values[n] for values in columns)]


_BREAKS = frozenset("\t\r\n")
_FORMULAS = frozenset("=+-@＝＋－＠")  # the full-width forms too: some spreadsheets convert them


def _harmless(name: str | None) -> str:
    """The name, with a quote before it if a spreadsheet could take it for a formula."""
    text = name or ""
    start = text.lstrip()[:1]  # spreadsheets ignore white space before a formula
    return f"'{text}" if text[:1] in _BREAKS or start in _FORMULAS else text


def _lines(rows: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
