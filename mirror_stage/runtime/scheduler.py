"""Runs the table of jobs with APScheduler under gevent."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

import gevent
from apscheduler.schedulers.gevent import GeventScheduler
from apscheduler.triggers.base import BaseTrigger

from mirror_stage.core.clock import Clock
from mirror_stage.core.config import Config
from mirror_stage.core.problems import Problem
from mirror_stage.pipeline.owner import Owner
from mirror_stage.runtime.jobs import JOBS, Job
from mirror_stage.storage.db import Storage
from mirror_stage.web.services import Services

log = logging.getLogger(__name__)

STEP_NOTICED_SECONDS = 0.5


class Every(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Every so many seconds. Runs that were missed are skipped in one step.

    APScheduler's own trigger steps through them one by one: after a clock that leaps by a year, that takes hours.
    """

    def __init__(self, seconds: float):
        self._interval = timedelta(seconds=seconds)

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """The first time after `previous` that is later than `now`."""
        if previous is None:
            return now
        missed = max(0, (now - previous) // self._interval)
        return previous + (missed + 1) * self._interval


class Scheduler:
    """Runs the jobs of one EGO, each at most once at a time."""

    def __init__(self, ego: Services):
        self._ego = ego
        self._apscheduler = GeventScheduler(
            timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
        self._watch: gevent.Greenlet | None = None

    @property
    def is_running(self) -> bool:
        return bool(self._apscheduler.running)

    def check(self) -> dict[str, Any]:
        """Whether the jobs run, for readiness."""
        return {"ok": self.is_running, "detail": "running" if self.is_running else "not running"}

    def start(self) -> None:
        """Start all jobs. Each runs for the first time now."""
        logging.getLogger("apscheduler").setLevel(logging.ERROR)  # it warns of each run that it skips after a slow one
        now, config = datetime.now(self._apscheduler.timezone), self._ego[Config]
        for job in JOBS:
            if job.is_enabled(config):
                every = Every(job.every_seconds(config))
                self._apscheduler.add_job(_guarded, every, [job, self._ego], id=job.name, next_run_time=now)
        self._apscheduler.start()
        self._watch = gevent.spawn(self._follow_steps, self._ego[Clock])

    def stop(self) -> None:
        """Stop. No job starts after this call."""
        if self._watch is not None:
            self._watch.kill(block=False)
            self._apscheduler.shutdown(wait=False)

    def _follow_steps(self, clock: Clock) -> None:
        """Run the jobs anew whenever the wall clock is stepped, because APScheduler plans by the wall clock."""
        offset = clock.wall_offset_seconds()
        while True:
            gevent.sleep(0.5)
            step = clock.wall_offset_seconds() - offset
            if abs(step) > STEP_NOTICED_SECONDS:
                offset += step
                log.warning(
                    "the machine's clock was stepped by %.1f s; EGO keeps its own time until it is restarted", step
                )
                self._replan()

    def _replan(self) -> None:
        now = datetime.now(self._apscheduler.timezone)
        for job in self._apscheduler.get_jobs():
            job.modify(next_run_time=now + timedelta(milliseconds=1))


_complaints: dict[str, str] = {}  # by job: the last logged problem, so that an outage is one line and not one a second


def _guarded(job: Job, ego: Services) -> None:
    """Run a job. Log its failure, but the same Problem only once. The job runs again at its next time."""
    if job.is_owners and not ego[Owner].is_leading:
        return
    try:
        job.run(ego)
        if _complaints.pop(job.name, None):
            log.info("%s: works again", job.name)
    except Problem as why:
        if ego[Storage].engine is None:
            return  # EGO is stopping, and closed the database while the job ran
        if _complaints.get(job.name) != why.detail:
            log.warning("%s: %s; it runs again", job.name, why.detail)
        _complaints[job.name] = why.detail
    except Exception:
        log.exception("%s failed; it runs again", job.name)
