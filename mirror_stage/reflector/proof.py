"""Checks that EGO has signed what this agent gets, if the settings have EGO's root key (`ego_signing_key`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from mirror_stage.core import signed
from mirror_stage.core.instants import Instant
from mirror_stage.core.signed import Recipient, Unproved
from mirror_stage.reflector.spool import wall_clock


@dataclass(frozen=True)
class Proved:
    """The signed part of a command for this agent. Only this part counts."""

    command: Any
    timeout_seconds: Any
    number: int


class EgoClock:
    """EGO's time, as an answer over https last showed it; without one, this machine's."""

    def __init__(self, is_authentic: bool) -> None:
        self._is_authentic = is_authentic
        self._ahead: Instant = 0  # how far EGO's clock is ahead of this machine's

    def hear(self, date: str | None) -> None:
        """Learn from the Date header of an answer. Over plain http anybody could have written it."""
        if not self._is_authentic or date is None:
            return
        try:
            self._ahead = int(parsedate_to_datetime(date).timestamp() * 1000) - wall_clock()
        except (ValueError, TypeError, OverflowError):
            return

    def now(self) -> Instant:
        """The time by EGO's clock."""
        return wall_clock() + self._ahead


class Proof:
    """Checks what the EGO with this root key sends to one agent. `agent_id` returns the agent's present id."""

    def __init__(self, root: bytes, clock: EgoClock, agent_id: Callable[[], str | None] = lambda: None) -> None:
        self.ego, self.clock = signed.ego_of(root), clock
        self._root, self._agent_id = root, agent_id

    def command(self, id: str, envelope: Any, hostname: str, highest: int) -> Proved:
        """The command that EGO has signed under this id. Raises Unproved.

        `highest` is the highest number that this agent has seen.
        """
        statement = self._for_me(envelope, signed.COMMAND, hostname)
        if statement.get("id") != id:
            raise Unproved("its signature belongs to another command")
        number = signed.number_of(statement, highest)
        return Proved(statement.get("command"), statement.get("timeout"), number)

    def is_cancel(self, answer: Mapping[str, Any], id: str, hostname: str) -> bool:
        """Whether EGO has signed the order to stop this command."""
        try:
            return self._for_me(answer.get("signedCancel"), signed.CANCEL, hostname).get("id") == id
        except Unproved:
            return False

    def _for_me(self, envelope: Any, purpose: str, hostname: str) -> dict[str, Any]:
        now = self.clock.now()
        statement = signed.statement_of(envelope, self._root, purpose, now)
        signed.check_recipient(statement, Recipient(hostname, self._agent_id()))
        signed.check_time(statement, now)
        return statement
