"""APScheduler under gevent, and the table of everything that happens by itself."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import gevent
from apscheduler.schedulers.gevent import GeventScheduler
from flask import Flask

from mirror_stage import owner
from mirror_stage.clock import Clock
from mirror_stage.commands import jobs as commands
from mirror_stage.config import Config
from mirror_stage.ego import Ego
from mirror_stage.ego_monitor import jobs as ego_monitor
from mirror_stage.errors import Problem
from mirror_stage.history import jobs as history
from mirror_stage.past import jobs as past
from mirror_stage.twin import jobs as twin

log = logging.getLogger(__name__)

STEP_NOTICED_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Job:
    """Something that runs every `seconds`, from the start on."""

    run: Callable[[Ego], object]
    seconds: Callable[[Config], float]
    enabled: Callable[[Config], bool] = lambda _config: True

    @property
    def name(self) -> str:
        return f"{self.run.__module__.removeprefix('mirror_stage.')}.{self.run.__name__}"


JOBS: tuple[Job, ...] = (
    Job(owner.keep, lambda _config: 1),
    Job(twin.tick, lambda _config: 0.25),
    Job(twin.sweep, lambda _config: 1),
    Job(twin.save, lambda _config: 1),
    Job(commands.watch_over, lambda _config: 1),
    Job(commands.look_for_pending, lambda _config: 2),
    Job(commands.prune, lambda _config: 3600),
    Job(history.keep, lambda _config: 5),
    Job(past.prune, lambda _config: 3600),
    Job(
        ego_monitor.observe,
        lambda config: config.ego_monitor_interval_ms / 1000,
        lambda config: config.ego_monitor_enabled,
    ),
)


class Scheduler:
    """Runs the jobs of one Ego, each at most once at a time."""

    def __init__(self, ego: Ego):
        self._ego = ego
        self._apscheduler = GeventScheduler(
            timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
        self._watch: gevent.Greenlet | None = None

    @property
    def is_running(self) -> bool:
        return bool(self._apscheduler.running)

    def start(self) -> None:
        """Begin; the first run of every job is now."""
        logging.getLogger("apscheduler").setLevel(logging.ERROR)  # it warns of every tick that a slow one swallowed
        now = datetime.now(self._apscheduler.timezone)
        for job in JOBS:
            if job.enabled(self._ego.config):
                seconds = job.seconds(self._ego.config)
                self._apscheduler.add_job(
                    _guarded, "interval", [job, self._ego], seconds=seconds, id=job.name, next_run_time=now
                )
        self._apscheduler.start()
        self._watch = gevent.spawn(self._follow_steps, self._ego.clock)

    def stop(self) -> None:
        """No job starts after this."""
        if self._watch is not None:
            self._watch.kill(block=False)
            self._apscheduler.shutdown(wait=False)

    def _follow_steps(self, clock: Clock) -> None:
        """APScheduler plans by the wall clock: when that is stepped, its plans are moved by the step."""
        offset = clock.wall_offset_seconds()
        while True:
            gevent.sleep(0.5)
            step = clock.wall_offset_seconds() - offset
            if abs(step) > STEP_NOTICED_SECONDS:
                offset += step
                log.warning("the machine's clock was stepped by %.1f s; EGO's own goes on", step)
                self._replan()

    def _replan(self) -> None:
        now = datetime.now(self._apscheduler.timezone)
        for job in self._apscheduler.get_jobs():
            job.modify(next_run_time=now + timedelta(milliseconds=1))


_complaints: dict[str, str] = {}  # by job: what was logged last, so that an outage is one line and not one a second


def _guarded(job: Job, ego: Ego) -> None:
    """A job's failure is logged, once while it lasts, and costs this one run."""
    try:
        job.run(ego)
        if _complaints.pop(job.name, None):
            log.info("%s: works again", job.name)
    except Problem as why:
        if _complaints.get(job.name) != why.detail:
            log.warning("%s: %s; it runs again", job.name, why.detail)
        _complaints[job.name] = why.detail
    except Exception:
        log.exception("%s failed; it runs again", job.name)


def init_app(app: Flask, ego: Any) -> Scheduler:
    """The scheduler of an application, not yet started."""
    scheduler = app.extensions["mirror_stage_scheduler"] = Scheduler(ego)
    return scheduler
