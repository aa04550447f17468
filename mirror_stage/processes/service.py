"""Notes once a minute which processes use most of each host, answers which did at a moment and since when, removes what is old."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

import gevent
import orjson

from mirror_stage.core.clock import Clock
from mirror_stage.core.instants import HOUR, SECOND, Instant, to_text
from mirror_stage.core.problems import Invalid, NotFound
from mirror_stage.processes import store
from mirror_stage.processes.domain import (
    CPU_LEAST,
    GAP_SECONDS,
    MEMORY_LEAST,
    MINUTE_SECONDS,
    Row,
    Since,
    rows_of,
    since_when,
)
from mirror_stage.storage.db import Storage
from mirror_stage.storage.pieces import HELD_SECONDS, Pace

LOOKED_BACK: Instant = 24 * HOUR  # for since when
SHOWN: Instant = 3 * HOUR  # the lines, if the question names no beginning
PRUNED_AT_ONCE = 500
ENCODED_AT_ONCE = 200  # then others run

Reading = tuple[int, Instant, Sequence[Any]]  # (host id, instant of the sample, its `top_processes`)
Minutes = list[tuple[int, list[Row]]]  # (first second, rows), in order


class Processes:
    """The busiest processes of all hosts. `readings` are those of the newest samples; they are kept for `kept`."""

    def __init__(self, storage: Storage, clock: Clock, readings: Callable[[], Iterable[Reading]], kept: Instant):
        self._asked, self._storage, self._clock = storage, storage.own, clock
        self._readings, self._kept = readings, kept
        self._noted: dict[int, int] = {}  # the newest minute that is noted, by host id
        self._put = Pace(200, least=20, most=2_000, seconds=HELD_SECONDS)

    def look(self) -> None:
        """Note the minutes that have begun for a host since the last look: the first sample of a minute stands for it.

        A minute that is stored already, by this process or one before it, stays as it is.
        """
        due = []
        for host_id, at, processes in self._readings():
            minute = at // SECOND // MINUTE_SECONDS * MINUTE_SECONDS
            if minute > self._noted.get(host_id, -1):
                due.append((host_id, minute, processes))
        while due:
            with self._put.piece() as piece:
                size = min(piece.size, ENCODED_AT_ONCE)
                some, due = due[:size], due[size:]
                rows = [
                    (host_id, minute, orjson.dumps(rows_of(processes)).decode()) for host_id, minute, processes in some
                ]
                self._storage.write(piece.timed(partial(store.put, rows=rows)))
            self._noted.update({host_id: minute for host_id, minute, _ in some})
            gevent.sleep(0)

    def at(
        self, hostname: str, at: Instant | None = None, since: Instant | None = None, name: str | None = None
    ) -> dict[str, Any]:
        """The processes of a host in the minute of `at`, with their minutes since `since`, as the wire has them.

        `name`: those of this name only, all that there were since then. Raises NotFound for a host that never was, Invalid for a
        moment that is not over, or a beginning after it.
        """
        now = self._clock.now()
        at = now if at is None else at
        since = at - SHOWN if since is None else since
        if at > now:
            _refuse("at", f"{to_text(at)} is in the future; EGO's clock says {to_text(now)}")
        if since >= at:
            _refuse("from", f"{to_text(since)} is not before `at`, {to_text(at)}")
        host_id = self._asked.read(partial(store.id_of, hostname=hostname))
        if host_id is None:
            raise NotFound(f"there has never been a host {hostname}; GET /api/hosts lists those that there are")
        last, first = at // SECOND, max(0, at - LOOKED_BACK) // SECOND
        told = self._asked.read(partial(store.of_host, host_id=host_id, since=first, until=last))
        minutes: Minutes = sorted(orjson.loads(told))
        shown_from = next((n for n, (second, _) in enumerate(minutes) if second * SECOND >= since), len(minutes))
        is_known = bool(minutes) and minutes[-1][0] > last - GAP_SECONDS
        asked = _keys(minutes[shown_from:], name) if name is not None else _keys(minutes[-1:] if is_known else [], None)
        items = [_on_wire(key, minutes, shown_from, is_known=is_known) for key in asked]
        return {
            "hostname": hostname,
            "at": to_text(at),
            "minute": to_text(minutes[-1][0] * SECOND) if is_known else None,
            "from": to_text(since),
            "t": [to_text(second * SECOND) for second, _ in minutes[shown_from:]],
            "items": items,
            "total": len(items),
        }

    def prune(self, now: Instant) -> None:
        """Remove the minutes that are past their retention, in small steps; forget what was noted of hosts that are gone."""
        kept_since = (now - self._kept) // SECOND
        self._noted = {host_id: minute for host_id, minute in self._noted.items() if minute >= kept_since}
        prune: Any = partial(store.prune, kept_since=kept_since, most=PRUNED_AT_ONCE)
        while self._storage.write(prune) == PRUNED_AT_ONCE:
            gevent.sleep(0)


def _refuse(name: str, why: str) -> NoReturn:
    raise Invalid(f"{name}: {why}", errors=[{"field": name, "message": why}])


def _keys(minutes: Minutes, name: str | None) -> list[tuple[str, str | None]]:
    """(name, user) of the processes of these minutes, the newest minute first; of one name only, if it is given."""
    keys = {(row[0], row[1]): None for _, rows in reversed(minutes) for row in rows if name is None or row[0] == name}
    return list(keys)


def _on_wire(key: tuple[str, str | None], minutes: Minutes, shown_from: int, *, is_known: bool) -> dict[str, Any]:
    found = [next((row for row in rows if (row[0], row[1]) == key), None) for _, rows in minutes]
    seconds = [second for second, _ in minutes]
    cpu = [None if row is None else row[2] for row in found]
    memory = [None if row is None else row[3] for row in found]
    now = found[-1] if is_known else None
    return {
        "name": key[0],
        "username": key[1],
        "count": None if now is None else now[4],
        "cpuPercent": None if now is None else now[2],
        "memoryPercent": None if now is None else now[3],
        "cpuSince": _since(since_when(seconds, cpu, CPU_LEAST) if is_known else None),
        "memorySince": _since(since_when(seconds, memory, MEMORY_LEAST) if is_known else None),
        "cpu": cpu[shown_from:],
        "memory": memory[shown_from:],
    }


def _since(found: Since | None) -> Mapping[str, Any] | None:
    return None if found is None else {"at": to_text(found.second * SECOND), "isExact": found.is_exact}
