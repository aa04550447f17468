"""The port between edges and the owner of the twin, and the one kind of message that crosses it.

An edge takes requests: it decodes, works out rates, commits, answers. The owner folds samples into the live twin and
judges alerts. Within a process the port is a function call; `cluster/` carries the messages to the other workers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mirror_stage.core.instants import Instant
from mirror_stage.metrics.domain import Sample
from mirror_stage.twin.domain import Newest
from mirror_stage.twin.geometry import Place

Registered = Mapping[str, tuple[int, Place]]  # (id, place) by hostname


@dataclass(frozen=True, slots=True)
class Message:
    """What happened: new hosts, samples, polls, removed hosts, alerts that were acknowledged or no longer are.

    A listener applies what concerns it, in this order.

    A sample is complete: it has its rates. `polls` says when a host's agent last asked for commands. `measured` is what
    the edge has worked out for these samples already: by hostname, the host's `Newest` before and after them. It does not
    leave the process.
    """

    newcomers: Registered = field(default_factory=dict)
    samples: Sequence[Sample] = ()
    polls: Mapping[str, Instant] = field(default_factory=dict)
    removed: Sequence[str] = ()
    measured: Mapping[str, tuple[Newest, Newest]] = field(default_factory=dict)
    acknowledged: Sequence[str] = ()  # ids of alerts; the database says what was asked for


class Port:
    """Brings every message to every listener, in the order in which they were sent."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[Message], None]] = []

    def listen(self, listener: Callable[[Message], None]) -> None:
        """Call `listener` with each message from now on."""
        self._listeners.append(listener)

    def send(self, message: Message) -> None:
        """Bring a message to every listener."""
        for listener in self._listeners:
            listener(message)
