"""Answers history queries, page by page, so that no database reader is held for long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from mirror_stage.core.clock import Clock, elapsed_seconds
from mirror_stage.core.instants import HOUR, Instant
from mirror_stage.core.problems import Invalid, NotFound, Unavailable
from mirror_stage.history import series
from mirror_stage.history.domain import EVER, METRICS_BY_NAME, STEPS_SECONDS, Metric, Window, window
from mirror_stage.storage.db import Storage

HOST_STATISTICS = ("avg", "min", "max", "count")
GROUP_STATISTICS = ("mean", "min", "max", "p95", "hosts")
COUNTS = frozenset({"count", "hosts"})  # 0 where there is nothing, not unknown
CELLS_MAX = 200_000  # the limit of a JSON answer: points x metrics x hosts or groups
CSV_POINTS_MAX = 1_000_000  # the limit of a CSV answer: points x hosts or groups
SOURCE_ROWS = 150_000  # one read scans at most so many: about 100 ms
ANSWER_ROWS = 2_000  # one read returns at most so many
VALUES_MAX = 3_000_000  # a JSON answer sums up at most so many, at one sample a second per host: takes 1 to 2 s
GROUP_VALUES_MAX = 700_000  # the same limit for groups, whose answer is one statement
RANKED_MAX = 120_000  # an answer about groups sorts at most so many averages of hosts
QUESTION_SECONDS = 8.0  # the time limit of all reads of a JSON answer together

Columns = dict[str, dict[str, list[float | None]]]  # values by statistic, by metric


@dataclass(frozen=True, slots=True)
class Question:
    """A query: which metrics of which hosts, or of which groups of hosts, in which window.

    `unknown` are the names in it that no host has ever had. `extent` is known where the window is long: the seconds that
    the history has something of these hosts in.
    """

    window: Window
    metrics: tuple[Metric, ...]
    ids_by_hostname: Mapping[str, int]
    group_by: str | None = None
    group_by_host: Mapping[int, str | None] | None = None
    unknown: tuple[str, ...] = ()
    extent: tuple[int, int] = EVER

    @property
    def held(self) -> Window:
        """The part of the window that the history can have something in. Only this part costs anything."""
        return self.window.within(*self.extent)

    @property
    def host_ids(self) -> list[int]:
        return list(self.ids_by_hostname.values() if self.group_by_host is None else self.group_by_host)

    @property
    def statistics(self) -> tuple[str, ...]:
        return GROUP_STATISTICS if self.group_by else HOST_STATISTICS

    @property
    def names(self) -> list[str | None]:
        """The hosts or groups in the answer. A group without a name (None) comes last."""
        if self.group_by_host is None:
            return list(self.ids_by_hostname)
        return sorted(set(self.group_by_host.values()), key=lambda name: (name is None, name))

    @property
    def hosts(self) -> int:
        return len(self.host_ids)

    @property
    def is_bounded(self) -> bool:
        """Whether an answer in one piece takes at most about 2 s."""
        asked, metrics = self.window, len(self.metrics)
        seconds = max(0, min(asked.until, self.extent[1]) - max(asked.since, self.extent[0]))
        values = self.hosts * (1 + metrics) * seconds // asked.resolution.seconds
        if self.group_by is None:
            return values <= VALUES_MAX
        return values <= GROUP_VALUES_MAX and self.hosts * self.held.points * metrics <= RANKED_MAX


@dataclass(slots=True)
class Page:
    """A part of an answer: the buckets of `window`, with the columns of each host or group."""

    window: Window
    columns_by_name: dict[str | None, Columns]


class HistoryService:
    """Answers history queries. It hides from its callers which database and which tier the answer comes from."""

    def __init__(self, storage: Storage, clock: Clock, kept_by_resolution: Mapping[str, Instant]):
        self._storage, self._clock, self._kept = storage, clock, kept_by_resolution

    def question(self, query: dict[str, Any], hostnames: Sequence[str]) -> Question:
        """The question of a validated query. Raises Invalid for an impossible range, NotFound if all its hosts are
        unknown."""
        asked = self._window(query)
        metrics = tuple(METRICS_BY_NAME[name] for name in query["metrics"])
        ids = self._storage.read(lambda tx: series.ids_of(tx, hostnames)) if hostnames else {}
        unknown = tuple(hostname for hostname in hostnames if hostname not in ids)
        if hostnames and not ids:
            raise NotFound(f"there has never been a host {unknown[0]}; GET /api/hosts lists those that there are")
        ids = {hostname: ids[hostname] for hostname in hostnames if hostname in ids}
        group_by = query.get("groupBy")
        members: dict[int, str | None] | None = None
        if group_by:
            members = self._storage.read(lambda tx: series.groups(tx, group_by))
            if ids:
                members = {host_id: members.get(host_id) for host_id in ids.values()}
        found, is_csv = Question(asked, metrics, ids, group_by, members, unknown), query["format"] == "csv"
        if is_csv or not found.is_bounded:
            found = replace(found, extent=self._storage.read(partial(series.extent, host_ids=found.host_ids)))
        if not is_csv:
            found = self._bounded(found, query)
        _check_size(found, is_csv=is_csv)
        return found

    def _bounded(self, asked: Question, query: dict[str, Any]) -> Question:
        """The question with a step that can be answered in time.

        Raises Invalid if the query names a step that is too small, or if no step is large enough.
        """
        if asked.is_bounded:
            return asked
        steps = [step for step in STEPS_SECONDS if step > asked.window.step_seconds]
        others = (replace(asked, window=self._window(query | {"stepSeconds": step})) for step in steps)
        fitting = next((one for one in others if one.is_bounded), None)
        if fitting is not None and "stepSeconds" not in query:
            return fitting
        much = f"{asked.hosts:,} hosts x {asked.held.points:,} points x {len(asked.metrics)} metrics take too long"
        less = "a shorter range, fewer metrics, fewer hosts (hostname=), or format=csv"
        if fitting is None:
            raise _invalid("from", f"{much}; ask for {less}")
        raise _invalid("stepSeconds", f"{much}; ask for {fitting.window.step_seconds} or more, {less}")

    def _window(self, query: dict[str, Any]) -> Window:
        now = self._clock.now()
        until: Instant = query.get("until", now)
        since: Instant = query.get("since", until - HOUR)
        if since >= until:
            raise _invalid("from", "must be before `to`, which is now unless it is given")
        if since >= now:
            raise _invalid("from", "lies in the future, and the history has only the past")
        return window(since, until, query.get("stepSeconds"), now, self._kept)

    def whole(self, asked: Question) -> Page:
        """The answer in one piece. Raises Unavailable if all its reads together take longer than QUESTION_SECONDS."""
        answer, began = _empty(asked, asked.window), elapsed_seconds()
        for page in self.pages(asked) if asked.group_by is None else self._in_one_page(asked):
            first = (page.window.since - asked.window.since) // asked.window.step_seconds
            for name, columns in page.columns_by_name.items():
                for metric, statistics in columns.items():
                    for statistic, values in statistics.items():
                        answer.columns_by_name[name][metric][statistic][first : first + len(values)] = values
            if elapsed_seconds() - began > QUESTION_SECONDS:
                raise Unavailable(f"the answer took longer than {QUESTION_SECONDS:g} s; ask for a shorter range")
        return answer

    def _in_one_page(self, asked: Question) -> Iterator[Page]:
        if asked.held.points:
            yield self._grouped(asked, asked.held)

    def pages(self, asked: Question) -> Iterator[Page]:
        """The answer in pages, ordered by time. Each page is one short read. What the history cannot have has no page."""
        seconds = asked.window.resolution.seconds
        rows_a_bucket = max(1, asked.window.step_seconds // seconds) * max(1, asked.hosts)
        names = max(1, len(asked.names))
        for part in asked.held.pages(min(SOURCE_ROWS // rows_a_bucket, max(1, ANSWER_ROWS // names))):
            yield self._grouped(asked, part) if asked.group_by_host is not None else self._by_host(asked, part)

    def _by_host(self, asked: Question, part: Window) -> Page:
        host_ids = list(asked.ids_by_hostname.values())
        rows = self._storage.read(partial(series.of_hosts, asked=part, host_ids=host_ids, metrics=asked.metrics))
        page = _empty(asked, part)
        columns_by_id = {host_id: page.columns_by_name[name] for name, host_id in asked.ids_by_hostname.items()}
        for host_id, bucket, samples, *numbers in rows:
            place, columns = (bucket - part.since) // part.step_seconds, columns_by_id[host_id]
            for n, metric in enumerate(asked.metrics):
                least, most, total, count = numbers[4 * n : 4 * n + 4]
                count = samples if count is None else count
                values = (_mean(total, count, metric), _value(least, metric), _value(most, metric), count)
                for statistic, value in zip(HOST_STATISTICS, values, strict=True):
                    columns[metric.name][statistic][place] = value
        return page

    def _grouped(self, asked: Question, part: Window) -> Page:
        page = _empty(asked, part)
        names = asked.names
        numbers = {name: number for number, name in enumerate(names)}
        members = {host_id: numbers[name] for host_id, name in (asked.group_by_host or {}).items()}
        if not members:
            return page
        ask = partial(series.of_groups, asked=part, group_by_host=members, metrics=asked.metrics)
        for number, group, bucket, least, most, total, count, p95, hosts in self._storage.read(ask):
            metric = asked.metrics[number]
            place, columns = (bucket - part.since) // part.step_seconds, page.columns_by_name[names[group]]
            mean, highest = _mean(total, count, metric), _mean(p95, 1, metric)
            values = (mean, _value(least, metric), _value(most, metric), highest, hosts)
            for statistic, value in zip(GROUP_STATISTICS, values, strict=True):
                columns[metric.name][statistic][place] = value
        return page


def _empty(asked: Question, part: Window) -> Page:
    return Page(part, _columns(asked, part.points))


def _columns(asked: Question, points: int) -> dict[str | None, Columns]:
    """Empty columns: every value is None, every count is 0."""
    return {
        name: {
            metric.name: {s: [0 if s in COUNTS else None] * points for s in asked.statistics}
            for metric in asked.metrics
        }
        for name in asked.names
    }


def _value(units: int | None, metric: Metric) -> float | None:
    return None if units is None else units / metric.scale


def _mean(units: float | None, count: float | None, metric: Metric) -> float | None:
    """The average, rounded to one digit more than the values have."""
    if units is None or not count:
        return None
    return round(float(units) / float(count) / metric.scale, len(str(round(metric.scale))))


def _check_size(asked: Question, *, is_csv: bool) -> None:
    cells = asked.window.points * len(asked.metrics) * len(asked.names)
    if is_csv:
        if asked.held.points * len(asked.names) > CSV_POINTS_MAX:
            raise _invalid(
                "stepSeconds", f"more than {CSV_POINTS_MAX:,} rows; ask for a larger step or a shorter range"
            )
    elif cells > CELLS_MAX:
        detail = (
            f"{asked.window.points} points x {len(asked.metrics)} metrics x {len(asked.names)} series are more than"
            f" {CELLS_MAX:,}; ask for a larger step, a shorter range, fewer metrics, or format=csv"
        )
        raise _invalid("stepSeconds", detail)


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(f"{field}: {message}", errors=[{"field": field, "message": message}])
