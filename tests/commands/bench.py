"""The command queue of one test: a real service and store, a clock that the test sets, a publisher that records."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import StaticPool

import mirror_stage.commands.models
import mirror_stage.twin.models  # noqa: F401  # ego_state
from mirror_stage.access.domain import LOCAL, Actor
from mirror_stage.commands.domain import Command, NewCommand, Outcome, outcome_of
from mirror_stage.commands.service import CommandService
from mirror_stage.core.config import Config
from mirror_stage.core.signed import Recipient
from mirror_stage.signing.service import Signer
from mirror_stage.storage.db import Base, Storage
from tests.builders import SetClock
from tests.storages import create_tables

OPERATOR = Actor("user", "operator", "10.0.0.2")
AGENT = Actor(LOCAL, peer="10.0.0.10")
INSTANCE = "6a1f0f8e-6f0e-4a58-9b52-0c9f0f7a3c11"
OTHER_INSTANCE = "0c0a1c58-5f26-4f5a-8a0e-4f2b1a6f2d02"
UNKNOWN = "11111111-1111-4111-8111-111111111111"


@dataclass
class RecordingRealtime:
    """Records what was published to all, and what was sent to one client."""

    published: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    sent: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def publish(self, namespace: str, event: str, payload: Any, **_: Any) -> None:
        self.published.append((namespace, event, payload))

    def publish_here(self, namespace: str, event: str, body: bytes) -> None:
        self.published.append((namespace, event, json.loads(body)))

    def tell(self, namespace: str, sid: str, event: str, payload: Any) -> None:
        self.sent.append((sid, event, payload))


def in_memory() -> Engine:
    return create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})


class CommandBench:
    """One EGO's command queue, its database, and what its clients hear."""

    def __init__(self, engine: Engine | None = None, config: Config | None = None):
        self.clock, self.realtime = SetClock(), RecordingRealtime()
        self.storage = Storage(config or Config(testing=True))
        self.engine = engine or in_memory()
        self.storage.open(self.engine)
        (Base.metadata.create_all if engine else create_tables)(self.engine)
        self.policies: dict[str, str] = {}
        self.polls: dict[str, int] = {}
        self.signer = Signer(Config(testing=True), self.clock, lambda _tx, name: Recipient(name))  # type: ignore[arg-type]
        self.signer.open()
        self.restart()

    def restart(self) -> None:
        """Replace the service, as a new process on the same database would."""
        self.commands = CommandService(
            self.storage,
            self.clock,  # type: ignore[arg-type]
            self.realtime,  # type: ignore[arg-type]
            self.signer,
            policy_of=self.policies.get,
            last_poll_of=self.polls.get,
            polled=self.polls.__setitem__,
            stranger=lambda *_: None,
            waiters_max=100,
        )

    def create(self, host: str = "titan-01", command: str = "uptime", **fields: Any) -> Command:
        return self.commands.create(NewCommand(host, command, **fields), OPERATOR)[0]

    def claim(self, host: str = "titan-01", **options: Any) -> list[Command]:
        return self.commands.claim(host, AGENT, **options)

    def running(self, **fields: Any) -> Command:
        """A command that was just handed out."""
        self.create(**fields)
        return self.claim(fields.get("host", "titan-01"))[-1]

    def report(self, command: Command, status: str = "succeeded", **fields: Any) -> tuple[Command, bool]:
        return self.commands.report(command.id, outcome(status, **fields), AGENT)

    def lost(self, **fields: Any) -> Command:
        """A command that is lost, because its agent stayed silent."""
        command = self.running(**fields)
        assert command.lease_until is not None
        self.pass_seconds((command.lease_until - self.clock.now()) / 1000)
        return self.commands.get(command.id, OPERATOR)

    def pass_seconds(self, seconds: float) -> None:
        """Advance the clock in steps of a second, and let EGO check its leases and deadlines after each step."""
        for _ in range(int(seconds)):
            self.commands.watch_over(self.clock.advance(1))
        self.commands.watch_over(self.clock.advance(seconds % 1))

    def get(self, command: Command) -> Command:
        return self.commands.get(command.id, OPERATOR)

    def updates(self, command: Command | None = None) -> list[dict[str, Any]]:
        """The payloads of `command-update`, for one command or for all."""
        assert all(row[:2] == ("/commands", "command-update") for row in self.realtime.published)
        payloads = [payload for _, _, payload in self.realtime.published]
        return [payload for payload in payloads if command is None or payload["id"] == command.id]

    def record(self, command: Command) -> list[tuple[int, str]]:
        """(version, name) of each recorded transition."""
        return [(event.version, event.name) for event in self.commands.events_of(command.id, OPERATOR)]

    def sql(self, statement: str, **values: Any) -> list[Any]:
        return self.storage.write(lambda tx: tx.execute(text(statement), values).all())


def outcome(status: str = "succeeded", **fields: Any) -> Outcome:
    """A command's result as the contract defines it."""
    return outcome_of({"status": status, "exitCode": 0, "stdout": "done\n", "stderr": ""} | fields)
