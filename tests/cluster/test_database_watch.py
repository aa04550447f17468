"""PostgreSQL really stops: people are told from memory, once, and once more when it is back."""

from __future__ import annotations

import signal

from mirror_stage.core.config import Config
from mirror_stage.notifications.database_watch import DatabaseWatch
from mirror_stage.notifications.directory import Directory, Wanted
from mirror_stage.notifications.domain import Route
from mirror_stage.notifications.secrets import Secrets
from mirror_stage.notifications.sending import Sender
from mirror_stage.notifications.words import Manner
from tests.builders import SetClock
from tests.notifications.sinks import sink
from tests.notifications.test_sending import ME
from tests.servers import PostgresqlServer
from tests.storages import migrated


def test_a_postgresql_that_stops_is_told_once_from_memory_and_so_is_its_return() -> None:
    server, clock = PostgresqlServer(), SetClock()  # type: PostgresqlServer, Any
    config = Config(db_url=server.start().new_database())
    try:
        with sink() as receiver, migrated(config) as storage:
            directory = Directory(storage, clock, Secrets(Config(testing=True)))
            directory.create(Wanted("ops", "webhook", {}, Manner(), 10, {"url": receiver.url}), ME)
            directory.put_routes([Route("all", ("ops",))], None, ME)
            sender = Sender(storage, clock, directory, url="http://ego", kept=0)
            watch = DatabaseWatch(clock, directory, sender, ego="ego-1", is_there=storage.latency_ms, alerts=list)
            watch.look()
            server.stop(signal.SIGQUIT)
            for seconds in (0, 61, 5, 600):
                clock.advance(seconds)
                watch.look()
                assert receiver.kinds == ([] if seconds == 0 else ["away"])
            server.start()
            for _ in range(3):
                clock.advance(5)
                watch.look()
            assert receiver.kinds == ["away", "back"]
            assert {one.body["rule"] for one in receiver.got} == {"database_away"}
    finally:
        server.remove()
