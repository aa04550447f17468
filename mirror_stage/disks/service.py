"""Notes how full the disks are, works out when they will be full, and removes what is old; in pieces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import gevent
import orjson

from mirror_stage.core.clock import Clock
from mirror_stage.core.instants import DAY, SECOND, Instant
from mirror_stage.core.problems import NotFound
from mirror_stage.core.turns import Turns
from mirror_stage.disks import store
from mirror_stage.disks.domain import HOUR_SECONDS, TREND_SECONDS, Forecasts, Level, days_range, forecast
from mirror_stage.storage.db import Storage
from mirror_stage.storage.pieces import HELD_SECONDS, Pace

KEPT: Instant = 90 * DAY
NOTED_EVERY_SECONDS = 300
PRUNED_AT_ONCE = 500

Reading = tuple[int, str, Mapping[str, tuple[int, int]]]  # (host id, name, (used, size) in bytes by mountpoint)


class DiskLevels:
    """The levels of the disks of all hosts. `readings` are those of now; `tell` gets the forecasts of hosts by their names."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        readings: Callable[[], Iterable[Reading]],
        tell: Callable[[Mapping[str, Forecasts]], None],
    ):
        self._asked, self._storage, self._clock, self._readings, self._tell = (
            storage,
            storage.own,
            clock,
            readings,
            tell,
        )
        self._noted_at = self._forecast_at = 0
        self._noted = Pace(200, least=20, most=2_000, seconds=HELD_SECONDS)
        self._read = Pace(50, least=5, most=200)
        self._breathe = Turns().breathe

    def look(self) -> None:
        """Note the levels every five minutes; forecast at first, and once an hour."""
        now = self._clock.now() // SECOND
        hour = now - now % HOUR_SECONDS
        if now - self._noted_at < NOTED_EVERY_SECONDS and self._noted_at <= now:
            return
        readings = list(self._readings())
        self._note(readings, hour)
        self._noted_at = now
        if hour != self._forecast_at:
            self._foretell(readings, now)
            self._forecast_at = hour

    def of_host(self, hostname: str) -> list[dict[str, Any]]:
        """The forecasts of a host's disks as the wire has them, by mountpoint, from the last hour that is noted. Raises NotFound."""
        host_id = self._asked.read(partial(store.id_of, hostname=hostname))
        if host_id is None:
            raise NotFound(f"there is no host {hostname}; GET /api/hosts lists those that there are")
        since = self._clock.now() // SECOND - TREND_SECONDS
        told = self._asked.read(partial(store.of_hosts, host_ids=[host_id], since=since))
        levels: dict[str, list[Level]] = defaultdict(list)
        for _, mount, *level in sorted(orjson.loads(told)):
            levels[mount].append(tuple(level))
        newest = max((its[-1][0] for its in levels.values()), default=0)
        return [_on_wire(mount, its) for mount, its in levels.items() if its[-1][0] == newest]

    def _note(self, readings: Iterable[Reading], hour: int) -> None:
        rows = [
            (host_id, mount, hour, used, total)
            for host_id, _, disks in readings
            for mount, (used, total) in disks.items()
        ]
        while rows:
            with self._noted.piece() as piece:
                some, rows = rows[: piece.size], rows[piece.size :]
                self._storage.write(piece.timed(partial(store.put, rows=some)))
            gevent.sleep(0)

    def _foretell(self, readings: list[Reading], now: int) -> None:
        while readings:
            with self._read.piece() as piece:
                some, readings = readings[: piece.size], readings[piece.size :]
                ids = [host_id for host_id, _, _ in some]
                ask = partial(store.of_hosts, host_ids=ids, since=now - TREND_SECONDS)
                told = self._storage.read(piece.timed(ask))
            levels: dict[int, dict[str, list[Level]]] = defaultdict(lambda: defaultdict(list))
            for host_id, mount, *level in sorted(orjson.loads(told)):
                levels[host_id][mount].append(tuple(level))
            self._tell({name: self._forecasts(levels[host_id]) for host_id, name, _ in some})

    def _forecasts(self, levels_by_mount: Mapping[str, list[Level]]) -> Forecasts:
        found = {}
        for mount, levels in levels_by_mount.items():
            trend = forecast(levels)
            if trend is not None:
                found[mount] = trend
            self._breathe()
        return Forecasts(found)

    def prune(self, now: Instant) -> None:
        """Remove levels of more than 90 days ago, in small steps."""
        prune: Any = partial(store.prune, kept_since=(now - KEPT) // SECOND, most=PRUNED_AT_ONCE)
        while self._storage.write(prune) == PRUNED_AT_ONCE:
            gevent.sleep(0)


def _on_wire(mount: str, levels: list[Level]) -> dict[str, Any]:
    _, used, usable = levels[-1]
    trend = forecast(levels)
    earliest, likely, latest = (None, None, None) if trend is None else days_range(used, usable, trend)
    return {
        "mountpoint": mount,
        "usedBytes": used,
        "usableBytes": usable,
        "isKnown": trend is not None,
        "isSteady": trend is not None and trend.is_steady,
        "earliestDays": earliest,
        "likelyDays": likely,
        "latestDays": latest,
    }
