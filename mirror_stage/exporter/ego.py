"""EGO's own figures. What a service knows is read from it when somebody asks; nothing is counted twice."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import gevent
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest as written_plain
from prometheus_client.openmetrics.exposition import generate_latest as written_openmetrics

from mirror_stage.alerts.domain import SEVERITIES
from mirror_stage.alerts.service import AlertService
from mirror_stage.cluster.service import Cluster
from mirror_stage.commands.service import CommandService
from mirror_stage.core.config import Config
from mirror_stage.core.problems import Problem
from mirror_stage.core.turns import in_turns
from mirror_stage.core.version import VERSION
from mirror_stage.figures.instruments import Histogram
from mirror_stage.figures.loop_lag import LoopLag
from mirror_stage.figures.text import OPENMETRICS
from mirror_stage.health.service import NEEDED, Check, HealthService
from mirror_stage.history.keeping import Keeper
from mirror_stage.notifications.channels import KINDS
from mirror_stage.notifications.sending import Sender
from mirror_stage.pipeline.commits import Commits
from mirror_stage.pipeline.outbox import Outbox
from mirror_stage.pipeline.owner import Owner
from mirror_stage.pipeline.writer import QUEUE_BATCHES, QUEUE_BYTES, Writer
from mirror_stage.storage.db import Calls, Storage
from mirror_stage.twin.audience import Audience
from mirror_stage.twin.domain import STATUS_CODES
from mirror_stage.twin.service import TwinService
from mirror_stage.web.latency import Latency
from mirror_stage.web.realtime import Realtime
from mirror_stage.web.refusals import Refusals
from mirror_stage.web.services import Services

ALONE = "1"  # the label `worker` of an EGO of one worker; in a cluster it is the worker's id
ASKED_SECONDS = 1.0  # how long a scrape waits for database and Redis: a hang must not make a scraper give up
NAMESPACES = ("/digital-twin", "/commands", "/alerts")

Families = Iterator[Metric]
Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """What database and Redis have answered: their checks, and how many commands are open (None: it cannot be read)."""

    checks: Mapping[str, Check]
    open_commands: Mapping[str, int] | None


class EgoFigures:
    """The figures of this process; if it owns the twin, those of twin and alerts, too."""

    def __init__(self, ego: Services):
        self._ego = ego
        self._asking: gevent.Greenlet | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def written(self, form: str) -> bytes:
        """All figures in a format of `figures.text`."""
        return (written_openmetrics if form == OPENMETRICS else written_plain)(self)

    def collect(self) -> Families:
        """Every family, each of its samples with the label `worker`."""
        cluster = self._ego.get(Cluster)
        worker = ALONE if cluster is None else cluster.id
        for family in in_turns(chain(self._own(), self._registry.collect())):
            family.samples = [one._replace(labels={**one.labels, "worker": worker}) for one in family.samples]
            yield family

    def _own(self) -> Families:
        yield from self._identity()
        yield from self._health()
        yield from self._requests()
        yield from self._ingest()
        yield from self._storage()
        yield from self._workers()
        yield from self._clients()
        yield from self._commands()
        if self._ego[Owner].is_leading:  # else the sum over all workers would count these several times
            yield from self._twin()
            yield from self._alerts()
            yield from self._notifications()

    # ------------------------------------------------------------------ each part

    def _identity(self) -> Families:
        roles = "edge,owner" if self._ego[Owner].is_leading else "edge"
        build, process = (VERSION, platform.python_version()), (str(os.getpid()), roles)
        yield _gauges("mirror_stage_build_info", "The version that runs. Always 1.", ("version", "python"), {build: 1})
        yield _gauges("mirror_stage_worker_info", "The process that answers. Always 1.", ("pid", "roles"), {process: 1})

    def _health(self) -> Families:
        health, asked = self._ego[HealthService], self._asked()
        silent = {"ok": False, "detail": f"no answer within {ASKED_SECONDS:g} s"}
        found = dict(asked.checks if asked else {"database": silent}) | health.own()
        is_ready = all(found[name]["ok"] for name in NEEDED)
        yield _gauge("mirror_stage_ready", "Whether EGO can do its work, as /api/health/ready says.", int(is_ready))
        yield _gauges(
            "mirror_stage_check_ok",
            "Whether each part works: the checks of /api/health/ready.",
            ("check",),
            {(name,): int(check["ok"]) for name, check in found.items()},
        )
        yield _gauge("mirror_stage_database_up", "Whether the database answers.", int(found["database"]["ok"]))
        latency_ms = found["database"].get("latencyMs")
        if latency_ms is not None:
            yield _gauge(
                "mirror_stage_database_latency_seconds", "How long a trivial query takes now.", latency_ms / 1000
            )
        if self._ego[Config].redis_url is not None and "redis" in found:
            yield _gauge("mirror_stage_redis_up", "Whether Redis answers.", int(found["redis"]["ok"]))
        if asked and asked.open_commands is not None:
            yield _gauges(
                "mirror_stage_commands_open",
                "Commands that have not ended, by status.",
                ("status",),
                {(status,): count for status, count in asked.open_commands.items()},
            )

    def _requests(self) -> Families:
        latency, refusals = self._ego[Latency], self._ego[Refusals]
        yield _histograms(
            "mirror_stage_http_request_duration_seconds",
            "From a request's headers to the first byte of its answer, by route. A long poll waits on purpose.",
            ("route",),
            {(route,): seconds for route, seconds in latency.by_route().items()},
        )
        yield _counters(
            "mirror_stage_http_answers_total", "Answers by route and status.", ("route", "status"), latency.answers()
        )
        yield _counters(
            "mirror_stage_refusals_total",
            "Requests that EGO refused with a reason, by status.",
            ("status",),
            {(str(status),): count for status, count in refusals.by_status.items()},
        )

    def _ingest(self) -> Families:
        commits, (batches, size) = self._ego[Commits], self._ego[Writer].waiting
        samples = {(outcome,): count for outcome, count in commits.samples.items()}
        yield _counters(
            "mirror_stage_samples_total", "Samples that came to a commit, by outcome.", ("outcome",), samples
        )
        yield _histogram("mirror_stage_commit_group_samples", "Samples in one commit.", commits.group_samples)
        yield _histogram(
            "mirror_stage_commit_duration_seconds", "How long the commit of a group takes.", commits.seconds
        )
        yield _gauge("mirror_stage_queue_batches", "Batches that wait for a commit.", batches)
        yield _gauge("mirror_stage_queue_batches_limit", "At so many, EGO refuses more with 503.", QUEUE_BATCHES)
        yield _gauge("mirror_stage_queue_bytes", "Bytes of request bodies that are not answered yet.", size)
        yield _gauge("mirror_stage_queue_bytes_limit", "At so many, EGO refuses more with 503.", QUEUE_BYTES)

    def _storage(self) -> Families:
        storage = self._ego[Storage]
        lanes = {"requests": storage, "samples": storage.samples, "own": storage.own}
        calls: dict[Labels, Calls] = {}
        for lane, its in lanes.items():
            calls |= {(lane, "read"): its.reads, (lane, "write"): its.writes}
        names = ("lane", "call")
        yield _histograms(
            "mirror_stage_database_wait_seconds",
            "How long a call waits until the database takes it up.",
            names,
            {one: its.waits for one, its in calls.items()},
        )
        yield _histograms(
            "mirror_stage_database_call_duration_seconds",
            "How long a call takes, its wait and its commit included.",
            names,
            {one: its.seconds for one, its in calls.items()},
        )
        yield _gauges(
            "mirror_stage_database_calls_in_progress",
            "Calls that wait or run now.",
            names,
            {one: its.under_way for one, its in calls.items()},
        )
        behind = self._ego[Keeper].behind_seconds
        if behind is not None:
            yield _gauge(
                "mirror_stage_rollup_lag_seconds",
                "How long the oldest minute that is over waits to be rolled up.",
                max(0, behind),
            )

    def _workers(self) -> Families:
        cluster = self._ego.get(Cluster)
        alive = cluster.membership.standing.alive if cluster is not None else ()
        yield _gauge("mirror_stage_workers", "Workers that live and share the twin.", len(alive) or 1)
        yield _gauge(
            "mirror_stage_workers_without_redis",
            "Those of them that cannot use Redis.",
            sum(not worker.is_linked for worker in alive),
        )
        yield _gauge("mirror_stage_owner", "Whether this worker owns the twin.", int(self._ego[Owner].is_leading))
        yield _gauge(
            "mirror_stage_owner_generation",
            "The number of the twin's owner: one more after each takeover. 0 with one worker.",
            cluster.membership.standing.generation if cluster is not None else 0,
        )
        yield _counter(
            "mirror_stage_stream_entries_ignored_total",
            "Entries of the stream in Redis that were not understood.",
            cluster.stream.ignored if cluster is not None else 0,
        )

    def _twin(self) -> Families:
        statuses = Counter(str(host.status) for host in self._ego[Owner].twin.hosts_by_name.values())
        yield _gauges(
            "mirror_stage_hosts",
            "Hosts of the twin, by status.",
            ("status",),
            {(str(status),): statuses[status] for status in STATUS_CODES},
        )
        frames = self._ego[TwinService].frames
        yield _counter("mirror_stage_frames_total", "Frames made.", frames.revision)
        yield _counters(
            "mirror_stage_frame_bytes_total",
            "Bytes of frames, encoded once for all clients that get the same.",
            ("form",),
            {(form,): frames.encoded_bytes[form] for form in ("snapshot", "delta")},
        )

    def _clients(self) -> Families:
        realtime = self._ego[Realtime]
        yield _gauges(
            "mirror_stage_socket_clients",
            "Socket.IO clients by namespace.",
            ("namespace",),
            {(namespace,): len(realtime.clients(namespace)) for namespace in NAMESPACES},
        )
        yield _counter(
            "mirror_stage_frames_skipped_total",
            "Frames that a client was not sent, because it had not taken the earlier ones.",
            self._ego[Audience].skipped,
        )
        yield _histogram(
            "mirror_stage_event_loop_lag_seconds",
            "How much later than asked a greenlet wakes, looked at ten times a second.",
            self._ego[LoopLag].seconds,
        )

    def _alerts(self) -> Families:
        rules, outbox = self._ego[Owner].rules, self._ego[Outbox]
        active: Counter[Labels] = Counter({(rule.name, step.severity): 0 for rule in rules for step in rule.steps})
        active.update((alert.metric, alert.severity) for alert in self._ego[AlertService].open())
        yield _gauges("mirror_stage_alerts_active", "Active alerts.", ("rule", "severity"), active)
        told: Counter[Labels] = Counter(
            {(kind, severity): 0 for kind in ("fired", "updated", "resolved") for severity in SEVERITIES}
        )
        told.update(outbox.told)
        yield _counters("mirror_stage_alert_transitions_total", "Changes of alerts.", ("transition", "severity"), told)
        yield _gauge(
            "mirror_stage_alert_transitions_waiting", "Changes of alerts that are not stored yet.", len(outbox)
        )

    def _notifications(self) -> Families:
        sender = self._ego[Sender]
        waiting, kinds = sender.waiting(), ("kind",)
        yield _gauges(
            "mirror_stage_notifications_waiting",
            "Messages that wait for a channel, by its kind; looked at every 10 s.",
            kinds,
            {(kind,): count for kind, count in waiting.items()},
        )
        yield _gauge(
            "mirror_stage_notification_oldest_waiting_seconds",
            "For how long the oldest of them is due.",
            sender.oldest_waiting_seconds,
        )
        ended = {(kind, outcome): 0 for kind in KINDS for outcome in ("accepted", "dead")} | sender.ended
        yield _counters(
            "mirror_stage_notifications_total",
            "Messages that a channel accepted, or that were given up.",
            ("kind", "outcome"),
            ended,
        )

    def _commands(self) -> Families:
        commands = self._ego[CommandService]
        yield _counters(
            "mirror_stage_command_transitions_total",
            "Changes of commands, by the status after it.",
            ("status",),
            {(status,): count for status, count in commands.transitions.items()},
        )
        yield _gauge("mirror_stage_polls_waiting", "Agents that wait for a command.", commands.waiting_polls)

    # ------------------------------------------------------------------ what may take long

    def _asked(self) -> Asked | None:
        """What database and Redis answer; None if they take longer than ASKED_SECONDS.

        Scrapes that come meanwhile wait for the same answer, so a database that hangs is asked once, and not by every scrape.
        """
        if self._asking is None or self._asking.ready():
            self._asking = gevent.spawn(self._ask)
        self._asking.join(ASKED_SECONDS)
        answer: Asked | None = self._asking.value
        return answer

    def _ask(self) -> Asked:
        checks = self._ego[HealthService].others()
        try:
            return Asked(checks, self._ego[CommandService].open_counts() if checks["database"]["ok"] else None)
        except Problem:
            return Asked(checks, None)


# ---------------------------------------------------------------------- families


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value)


def _gauges(name: str, meaning: str, labels: Labels, values: Mapping[Any, float]) -> Metric:
    return _filled(GaugeMetricFamily(name, meaning, labels=labels), values)


def _counter(name: str, meaning: str, value: float) -> Metric:
    return CounterMetricFamily(name, meaning, value)


def _counters(name: str, meaning: str, labels: Labels, values: Mapping[Any, float]) -> Metric:
    return _filled(CounterMetricFamily(name, meaning, labels=labels), values)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[Any, float]) -> Metric:
    for of, value in values.items():
        family.add_metric(of, value)
    return family


def _histogram(name: str, meaning: str, values: Histogram) -> Metric:
    return _histograms(name, meaning, (), {(): values})


def _histograms(name: str, meaning: str, labels: Labels, values: Mapping[Labels, Histogram]) -> Metric:
    family = HistogramMetricFamily(name, meaning, labels=labels)
    for of, histogram in values.items():
        family.add_metric(of, list(histogram.buckets()), histogram.sum)
    return family
