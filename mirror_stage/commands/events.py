"""The events of the commands, and the order in which they are published."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mirror_stage.commands.domain import OPEN_MAX, Chunk, Command

NAMESPACE = "/commands"
DISPATCH_NAMESPACES = (NAMESPACE, "/digital-twin")
DISPATCH_UPDATE = "dispatch-update"  # that EGO hands out no more commands, or hands them out again
COMMAND_UPDATE = "command-update"  # a command, after each of its transitions
COMMAND_OUTPUT = "command-output"  # a chunk, to those who watch its command


def command_output(id: str, chunk: Chunk) -> dict[str, Any]:
    """`{"id", "seq", "stream", "data"}`."""
    return {"id": id, "seq": chunk.seq, "stream": chunk.stream, "data": chunk.text}


class InOrder:
    """Publishes the transitions of each command in the order of their versions.

    Greenlets return from their commits in nearly the right order. A transition is held until its predecessor has been
    published, or until all writes have returned that were under way when it was offered: then no write of this process
    can bring the predecessor any more.
    """

    def __init__(self, publish: Callable[[Command], None]):
        self._publish = publish
        self._writes = 0
        self._under_way: set[int] = set()
        # Of open commands. If one is forgotten, its next transition is only published later.
        self._versions_by_id: OrderedDict[str, int] = OrderedDict()
        self._held: list[tuple[frozenset[int], Command]] = []

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Mark a write that may bring transitions. Offer them inside the `with` block."""
        self._writes += 1
        number = self._writes
        self._under_way.add(number)
        try:
            yield
        finally:
            self._under_way.discard(number)
            self._release()

    def offer(self, commands: Sequence[Command]) -> None:
        """Publish committed transitions now or as soon as it is their turn."""
        if commands:
            self._held += [(frozenset(self._under_way), command) for command in commands]
            self._release()

    def _release(self) -> None:
        while self._held and self._publish_one():
            pass

    def _publish_one(self) -> bool:
        for place, (writes, command) in enumerate(self._held):
            if self._is_next(command) or not self._must_wait(command, writes):
                del self._held[place]
                self._remember(command)
                self._publish(command)
                return True
        return False

    def _is_next(self, command: Command) -> bool:
        return command.version == self._versions_by_id.get(command.id, 0) + 1

    def _must_wait(self, command: Command, writes: frozenset[int]) -> bool:
        """Whether an earlier transition of this command is held, or may still come."""
        earlier = any(held.id == command.id and held.version < command.version for _, held in self._held)
        return earlier or not self._under_way.isdisjoint(writes)

    def _remember(self, command: Command) -> None:
        if not command.is_open:
            self._versions_by_id.pop(command.id, None)
            return
        self._versions_by_id[command.id] = command.version
        self._versions_by_id.move_to_end(command.id)
        if len(self._versions_by_id) > OPEN_MAX:
            self._versions_by_id.popitem(last=False)
