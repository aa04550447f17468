"""The stream in Redis that all workers read: adds entries, reads those of the others, and notices when Redis fails.

An entry is added within ADD_SECONDS or not at all, and no request fails because of Redis.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gevent
import redis
from gevent.lock import BoundedSemaphore
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from mirror_stage.cluster import wire
from mirror_stage.core import sentinels
from mirror_stage.core.clock import elapsed_seconds

log = logging.getLogger(__name__)

ADD_SECONDS = 0.25
READ_SECONDS = 1.0  # a read returns after this, with entries or without
WHOLE_ANSWER_SECONDS = 10.0  # of a read: an answer may come in drops for ever
AGAIN_SECONDS = 0.5
KEPT_MS = 20_000  # entries that are older are dropped: a new owner needs those since the last save
ENTRIES_MAX = 20_000
READ_AT_ONCE = 50

Handler = Callable[["Entry"], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the stream. `generation` is that of the owner that has written it; 0 in those of edges."""

    id: str
    worker: str
    generation: int
    kind: bytes
    body: bytes


class Stream:
    """The stream of one cluster. `worker` is this worker's id; `key` names the stream."""

    def __init__(self, url: str, worker: str):
        self._url, self._worker = url, worker
        self.key = ""
        self._adding, self._reading = connected(url, ADD_SECONDS), connected(url, READ_SECONDS + 1)
        self.position = "0-0"  # of the newest entry that was read
        self.trouble: str | None = "not connected yet"
        self.ignored = 0  # entries that were no entries of this version
        self.read_at = elapsed_seconds()  # when Redis has answered a read last
        self._one_by_one = BoundedSemaphore(1)
        self.on_break: Callable[[], None] = lambda: None  # entries may have been missed
        self._reader: gevent.Greenlet | None = None

    @property
    def is_up(self) -> bool:
        return self.trouble is None

    def begin(self, key: str, handle: Handler) -> None:
        """Read every entry from now on, and call `handle` with those of other workers and all that ask for something."""
        self.key = key
        if self._reader is None:
            self._reader = gevent.spawn(self._read_on, handle)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.kill(block=False)

    def add(self, kind: bytes, body: bytes, generation: int = 0) -> str | None:
        """The id of the new entry; None if Redis does not take it within ADD_SECONDS, or has failed before."""
        entry: Any = {b"v": wire.VERSION, b"w": self._worker, b"g": generation, b"k": kind, b"b": body}
        with self._one_by_one:  # so that the entries of this worker stay in order
            if self.trouble is not None:
                return None
            try:
                with gevent.Timeout(ADD_SECONDS, TimeoutError(f"it takes nothing within {ADD_SECONDS:g} s")):
                    id: Any = self._adding.xadd(self.key, entry, maxlen=ENTRIES_MAX, approximate=True)
                return str(id.decode())
            except Exception as error:  # a server that is no Redis makes the client library raise others than its own
                self._fail(error)
                return None

    def since(self, position: str) -> Iterator[Entry] | None:
        """The entries after a position, oldest first, up to now. None if the stream does not go back so far. Raises redis.RedisError."""
        with _deadline():
            first: Any = self._reading.xrange(self.key, count=1)
        if not first or order(first[0][0].decode()) > order(position):
            return None
        return self._since(position)

    def _since(self, position: str) -> Iterator[Entry]:
        while True:
            with _deadline():
                rows: Any = self._reading.xrange(self.key, f"({position}", count=READ_AT_ONCE)
            if not rows:
                return
            for id, fields in rows:
                position = id.decode()
                entry = self._entry(position, fields)
                if entry is not None:
                    yield entry

    # ------------------------------------------------------------------ reading

    def _read_on(self, handle: Handler) -> None:
        is_reading = False
        while True:
            try:
                if not is_reading:
                    self._begin_at_the_end()
                    is_reading = True
                if self.trouble is not None:
                    self._try_to_write()
                self._read(handle)
            except (redis.RedisError, OSError) as error:
                self._fail(error)
                is_reading = is_reading and isinstance(error, redis.ResponseError)  # a refusal; the connection is whole
                gevent.sleep(AGAIN_SECONDS)
            except Exception as error:  # of the client library: the server is no Redis, or a hostile one
                self._fail(error)
                is_reading = False
                gevent.sleep(AGAIN_SECONDS)

    def _begin_at_the_end(self) -> None:
        """Begin after the newest entry: earlier entries are not read."""
        with _deadline():
            newest: Any = self._reading.xrevrange(self.key, count=1)
        self.position = newest[0][0].decode() if newest else "0-0"

    def _try_to_write(self) -> None:
        """See whether Redis takes entries again: it may answer and be full."""
        with _deadline():
            self._adding.xadd(self.key, {b"v": wire.VERSION, b"w": self._worker, b"g": 0, b"k": wire.HERE, b"b": b""})
        log.info("the cluster: Redis answers")
        self.trouble = None
        self.on_break()

    def _read(self, handle: Handler) -> None:
        wait = int(READ_SECONDS * 1000)
        with _deadline():
            answer: Any = self._reading.xread({self.key: self.position}, count=READ_AT_ONCE, block=wait)
        self.read_at = elapsed_seconds()
        for _, rows in answer or ():
            for id, fields in rows:
                self.position = id.decode()
                entry = self._entry(self.position, fields)
                if entry is not None and (entry.worker != self._worker or entry.kind == wire.ASKED):
                    self._handled(entry, handle)
            self._trim()

    @staticmethod
    def _handled(entry: Entry, handle: Handler) -> None:
        try:
            handle(entry)
        except Exception:
            log.exception("the stream of the cluster: an entry was passed over")

    def _trim(self) -> None:
        oldest = int(self.position.partition("-")[0]) - KEPT_MS
        with _deadline():
            self._reading.xtrim(self.key, minid=str(max(0, oldest)), approximate=True)

    def _entry(self, id: str, fields: dict[bytes, bytes]) -> Entry | None:
        try:
            if fields[b"v"] == wire.VERSION:
                return Entry(id, fields[b"w"].decode(), int(fields[b"g"]), fields[b"k"], fields[b"b"])
        except (KeyError, ValueError):
            pass
        self.ignored += 1
        return None

    def _fail(self, error: Exception) -> None:
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        if self.trouble is None:
            log.warning("the cluster: Redis fails: %s; EGO goes on without it", why)
        self.trouble = why


def _deadline() -> gevent.Timeout:
    """For a call that reads. The timeout of its socket begins anew with each byte."""
    return gevent.Timeout(WHOLE_ANSWER_SECONDS, TimeoutError(f"no whole answer within {WHOLE_ANSWER_SECONDS:g} s"))


def order(id: str) -> tuple[int, int]:
    """What sorts the ids of entries."""
    at, _, number = id.partition("-")
    return int(at), int(number)


def connected(url: str, seconds: float) -> redis.Redis:
    """A client that gives up after `seconds`. With the URL of sentinels it finds the master through the sentinels."""
    options: dict[str, Any] = {
        "socket_timeout": seconds,
        "socket_connect_timeout": min(seconds, ADD_SECONDS),
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
    }
    if not url.startswith(sentinels.SCHEME):
        return redis.Redis.from_url(url, **options)
    found = sentinels.parse_sentinels(url)
    sentinel = Sentinel(found.addresses, sentinel_kwargs={"socket_timeout": ADD_SECONDS})
    return sentinel.master_for(found.master, db=found.database, username=found.user, password=found.password, **options)  # type: ignore[no-any-return]
