"""The table of everything that EGO does by itself, and how often."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

import gevent

from mirror_stage.access.domain import job
from mirror_stage.alerts.service import AlertService
from mirror_stage.commands.service import CommandService
from mirror_stage.core.clock import Clock
from mirror_stage.core.config import Config
from mirror_stage.core.readiness import Readiness
from mirror_stage.ego_monitor.service import EgoMonitor
from mirror_stage.health.clock_watch import ClockWatch
from mirror_stage.history.keeping import Keeper
from mirror_stage.past.service import Past
from mirror_stage.pipeline.owner import Owner
from mirror_stage.pipeline.saving import Saver
from mirror_stage.storage.db import Storage
from mirror_stage.storage.lived import Lived
from mirror_stage.storage.ownership import Ownership
from mirror_stage.web.port import Services

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """Something that runs every so many seconds, from the start on, if it is enabled."""

    run: Callable[[Services], object]
    every_seconds: Callable[[Config], float]
    is_enabled: Callable[[Config], bool] = lambda _config: True

    @property
    def name(self) -> str:
        return self.run.__name__


def keep_ownership(ego: Services) -> None:
    """Make sure that this process still owns the twin. If another one took it over, end and start again as standby.

    PostgreSQL forgets the lock with its connection; while the database is away nobody can own it.
    """
    engine = ego[Storage].engine
    if engine is not None and not ego[Ownership].take(engine):
        log.error("another EGO has taken this database over while it was away; this one starts anew and waits")
        os.kill(os.getpid(), signal.SIGTERM)  # gunicorn starts another worker in its place


def tick(ego: Services) -> None:
    """One frame for everybody; and what happened to alerts is written, which may wait for the database, then told.

    No job of its own: after a step of the wall clock APScheduler counts every run that a frequent job has missed.
    """
    ego[Owner].tick()
    gevent.spawn(_record, ego)


def _record(ego: Services) -> None:
    try:
        ego[Saver].record()
    except Exception:
        log.exception("alerts were not recorded; it is tried again")


def sweep(ego: Services) -> None:
    """Silent hosts turn stale, then offline."""
    ego[Owner].sweep()


def save(ego: Services) -> None:
    """Hosts that changed are written."""
    ego[Saver].save()


def watch_over_commands(ego: Services) -> None:
    """What was not fetched in time expires, and what is past its lease is lost."""
    ego[CommandService].watch_over(ego[Clock].now(), job("watch_over_commands"))


def look_for_pending_commands(ego: Services) -> None:
    """Agents that wait although there is something for them are woken."""
    ego[CommandService].look_for_pending()


def prune_commands(ego: Services) -> None:
    """Commands that have been over for 30 days are removed."""
    ego[CommandService].prune(ego[Lived].until())


def keep_history(ego: Services) -> None:
    """Roll up what is over, mend what came late, prune what is old."""
    if ego[Readiness].is_ready:
        ego[Lived].check()
        ego[Keeper].keep()


def prune_alerts(ego: Services) -> None:
    """Alerts that were resolved long ago, or are too many, are removed."""
    ego[AlertService].prune(ego[Lived].until())


def prune_past(ego: Services) -> None:
    """What hosts were before the oldest tier is removed, and hosts of which nothing is left."""
    ego[Past].prune(ego[Lived].until())


def observe_ego(ego: Services) -> None:
    """One sample of EGO's own machine."""
    ego[EgoMonitor].observe()


def look_at_the_clock(ego: Services) -> None:
    """While the machine's clock is elsewhere than EGO's, that is noted."""
    ego[ClockWatch].look()


def every(seconds: float) -> Callable[[Config], float]:
    """A period that no setting changes."""
    return lambda _config: seconds


JOBS: tuple[Job, ...] = (
    Job(keep_ownership, every(1)),
    Job(tick, every(0.25)),
    Job(sweep, every(1)),
    Job(save, every(1)),
    Job(watch_over_commands, every(1)),
    Job(look_for_pending_commands, every(2)),
    Job(prune_commands, every(3600)),
    Job(keep_history, every(5)),
    Job(prune_alerts, every(600)),
    Job(prune_past, every(3600)),
    Job(look_at_the_clock, every(10)),
    Job(observe_ego, lambda config: config.ego_monitor_interval_ms / 1000, lambda config: config.ego_monitor_enabled),
)
