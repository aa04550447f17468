"""The readiness checks, and what `/api/info` says about this EGO."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gevent.lock import BoundedSemaphore

from mirror_stage.core.clock import elapsed_seconds
from mirror_stage.core.config import Config
from mirror_stage.core.problems import Problem
from mirror_stage.core.readiness import Readiness
from mirror_stage.health.redis import redis_trouble
from mirror_stage.storage.db import Storage

REDIS_EVERY_SECONDS = 5.0  # in between, the last answer of Redis counts
NEEDED = ("database", "writer", "twin", "scheduler")

Check = dict[str, Any]  # `ok`, a `detail` for people, perhaps `latencyMs`


class HealthService:
    """Says whether each part of EGO works.

    `writer`, `history`, `scheduler`, `clock`, `tls`, `agents`, `signing`, `dispatch` and `refused` each return the check of
    one part, and so does `cluster`, if this
    EGO is a worker of one. `describe` returns the id of the twin, the name of EGO's host and the alert rules, for `info`.
    """

    def __init__(
        self,
        config: Config,
        storage: Storage,
        readiness: Readiness,
        *,
        history_engine: Callable[[], str],
        writer: Callable[[], Check],
        history: Callable[[], Check],
        scheduler: Callable[[], Check],
        clock: Callable[[], Check],
        tls: Callable[[], Check],
        agents: Callable[[], Check],
        signing: Callable[[], Check],
        dispatch: Callable[[], Check],
        notifications: Callable[[], Check],
        refused: Callable[[], Check],
        cluster: Callable[[], Check] | None,
        describe: Callable[[], Mapping[str, Any]],
    ):
        self._config, self._storage, self._readiness = config, storage, readiness
        self._history_engine, self._writer, self._history, self._scheduler = history_engine, writer, history, scheduler
        self._clock, self._tls, self._agents = clock, tls, agents
        self._signing, self._dispatch, self._notifications = signing, dispatch, notifications
        self._refused, self._cluster, self._describe = refused, cluster, describe
        self._asking_redis = BoundedSemaphore(1)
        self._redis_asked_at: float | None = None
        self._redis_trouble: str | None = None

    def checks(self) -> dict[str, Check]:
        """Each part with `ok` and a `detail` for people."""
        return self.others() | self.own()

    def others(self) -> dict[str, Check]:
        """The checks that ask another program, which may take seconds."""
        return {"database": self._database(), "redis": self._redis()}

    def own(self) -> dict[str, Check]:
        """The checks that ask nobody."""
        readiness = self._readiness
        return {
            "writer": self._writer(),
            "twin": {"ok": readiness.is_restored, "detail": "restored" if readiness.is_restored else readiness.why_not},
            "scheduler": self._scheduler(),
            "history": self._history(),
            "clock": self._clock(),
            "tls": self._tls(),
            "agents": self._agents(),
            "signing": self._signing(),
            "dispatch": self._dispatch(),
            "notifications": self._notifications(),
            "refused": self._refused(),
        } | ({"cluster": self._cluster()} if self._cluster is not None else {})

    def info(self) -> dict[str, Any]:
        """What this EGO is and by which rules it judges."""
        return {
            "hub": self._config.hub_hostname,
            "staleAfterSeconds": self._config.stale_after_seconds,
            "offlineAfterSeconds": self._config.offline_after_seconds,
        } | dict(self._describe())

    def _database(self) -> Check:
        try:
            latency_ms, detail = round(self._storage.latency_ms(), 2), self._storage.description
            if self._storage.is_postgresql:
                detail += f", {self._history_engine()}"
            return {"ok": True, "latencyMs": latency_ms, "detail": detail}
        except Problem as why:
            return {"ok": False, "detail": why.detail}

    def _redis(self) -> Check:
        """No answer needs Redis. So a missing Redis is reported, but EGO stays ready."""
        url = self._config.redis_url
        if url is None:
            return {"ok": True, "detail": "not configured: memory"}
        with self._asking_redis:
            if self._redis_asked_at is None or elapsed_seconds() - self._redis_asked_at >= REDIS_EVERY_SECONDS:
                self._redis_trouble = redis_trouble(url)
                self._redis_asked_at = elapsed_seconds()
            age = f"asked {elapsed_seconds() - self._redis_asked_at:.0f} s ago"
        if self._redis_trouble is None:
            return {"ok": True, "detail": f"reachable, {age}"}
        return {"ok": False, "detail": f"not reachable: {self._redis_trouble}; {age}"}
