"""The checks of readiness, and what this EGO is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import redis

from mirror_stage.core.clock import Clock
from mirror_stage.core.config import Config
from mirror_stage.core.problems import Problem
from mirror_stage.core.readiness import Readiness
from mirror_stage.storage.db import Storage

REDIS_SECONDS = 0.2
CLOCK_APART_SECONDS = 60
NEEDED = ("database", "writer", "twin", "scheduler")

Check = dict[str, Any]  # `ok`, a `detail` for people, perhaps `latencyMs`


class HealthService:
    """Whether each part of EGO works. `writer`, `history` and `scheduler` answer for their part; `describe` says what EGO is."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        storage: Storage,
        readiness: Readiness,
        *,
        history_engine: Callable[[], str],
        writer: Callable[[], Check],
        history: Callable[[], Check],
        scheduler: Callable[[], Check],
        describe: Callable[[], Mapping[str, Any]],
    ):
        self._config, self._clock, self._storage, self._readiness = config, clock, storage, readiness
        self._history_engine, self._writer, self._history = history_engine, writer, history
        self._scheduler, self._describe = scheduler, describe

    def checks(self) -> dict[str, Check]:
        """Each part with `ok` and a `detail` for people."""
        readiness = self._readiness
        return {
            "database": self._database(),
            "redis": self._redis(),
            "writer": self._writer(),
            "twin": {"ok": readiness.is_ready, "detail": "restored" if readiness.is_ready else readiness.why_not},
            "scheduler": self._scheduler(),
            "history": self._history(),
            "clock": self._clock_check(),
        }

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
        """Redis is never needed for an answer, so its absence is told but does not make EGO unready."""
        url = self._config.redis_url
        if url is None:
            return {"ok": True, "detail": "not configured: memory"}
        trouble = redis_trouble(url)
        if trouble is None:
            return {"ok": True, "detail": "reachable"}
        return {"ok": False, "detail": f"not reachable, memory is used instead: {trouble}"}

    def _clock_check(self) -> Check:
        apart = self._clock.wall_offset_seconds()
        if abs(apart) < CLOCK_APART_SECONDS:
            return {"ok": True, "detail": f"{apart:+.1f} s from the machine's"}
        return {
            "ok": False,
            "detail": f"the machine's clock was set by {apart:+.0f} s since EGO started; restart EGO to follow it",
        }


def redis_trouble(url: str, seconds: float = REDIS_SECONDS) -> str | None:
    """Why Redis does not answer at this URL in so many seconds, in one line; None if it does."""
    try:
        with redis.Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds) as client:
            client.ping()
        return None
    except (redis.RedisError, OSError, ValueError, TypeError) as error:  # a URL may name options that there are not
        return next(iter(str(error).strip().splitlines()), type(error).__name__)
