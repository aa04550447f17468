"""The checks of readiness."""

from __future__ import annotations

from typing import Any

import redis

from mirror_stage.ego import Ego
from mirror_stage.errors import Problem

REDIS_SECONDS = 0.2
CLOCK_APART_SECONDS = 60


def checks(ego: Ego, *, scheduler_is_running: bool) -> dict[str, dict[str, Any]]:
    """Each part with `ok` and a `detail` for people."""
    return {
        "database": _database(ego),
        "redis": _redis(ego),
        "writer": _writer(ego),
        "twin": {"ok": ego.pipeline.is_ready, "detail": "restored" if ego.pipeline.is_ready else ego.why_not_ready},
        "scheduler": {"ok": scheduler_is_running, "detail": "running" if scheduler_is_running else "not running"},
        "clock": _clock(ego),
    }


def _database(ego: Ego) -> dict[str, Any]:
    try:
        latency_ms, detail = round(ego.storage.latency_ms(), 2), ego.storage.description
        if ego.storage.is_postgresql:
            detail += f", {ego.history_keeper.engine}"
        return {"ok": True, "latencyMs": latency_ms, "detail": detail}
    except Problem as why:
        return {"ok": False, "detail": why.detail}


def _writer(ego: Ego) -> dict[str, Any]:
    trouble = ego.pipeline.trouble
    detail = (
        ego.writer.description if trouble is None else f"{ego.writer.description}; the last commit failed: {trouble}"
    )
    return {"ok": trouble is None and not ego.writer.is_full, "detail": detail}


def _redis(ego: Ego) -> dict[str, Any]:
    """Redis is never needed for an answer, so its absence is told but does not make EGO unready."""
    url = ego.config.redis_url
    if url is None:
        return {"ok": True, "detail": "not configured: memory"}
    trouble = redis_trouble(url)
    if trouble is None:
        return {"ok": True, "detail": "reachable"}
    return {"ok": False, "detail": f"not reachable, memory is used instead: {trouble}"}


def redis_trouble(url: str, seconds: float = REDIS_SECONDS) -> str | None:
    """Why Redis does not answer at this URL in so many seconds, in one line; None if it does."""
    try:
        with redis.Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds) as client:
            client.ping()
        return None
    except (redis.RedisError, OSError, ValueError, TypeError) as error:  # a URL may name options that there are not
        return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _clock(ego: Ego) -> dict[str, Any]:
    apart = ego.clock.wall_offset_seconds()
    if abs(apart) < CLOCK_APART_SECONDS:
        return {"ok": True, "detail": f"{apart:+.1f} s from the machine's"}
    return {
        "ok": False,
        "detail": f"the machine's clock was set by {apart:+.0f} s since EGO started; restart EGO to follow it",
    }


NEEDED = ("database", "writer", "twin", "scheduler")
