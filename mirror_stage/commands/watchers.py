"""Which client watches which command's output: each chunk reaches each client once, stored chunks first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mirror_stage.commands.domain import Chunk

WATCHES_OF_CLIENT_MAX = 16


class Watch:
    """One client's view of one command. Until it has caught up, new chunks wait."""

    def __init__(self, tell: Callable[[Chunk], None], after_seq: int):
        self._tell, self._last_seq = tell, after_seq
        self._waiting: list[Chunk] | None = []

    @property
    def last_seq(self) -> int:
        """The number of the newest chunk that was passed on."""
        return self._last_seq

    def hear(self, chunk: Chunk) -> None:
        """Pass on a new chunk, now or after the stored ones."""
        if self._waiting is not None:
            self._waiting.append(chunk)
        elif chunk.seq > self._last_seq:
            self._last_seq = chunk.seq
            self._tell(chunk)

    def catch_up(self, stored: Sequence[Chunk]) -> None:
        """Pass on the stored chunks, then those that came meanwhile, then each as it comes."""
        waiting, self._waiting = self._waiting or [], None
        for chunk in (*stored, *waiting):
            self.hear(chunk)


class Watchers:
    """Every client's watches."""

    def __init__(self) -> None:
        self._watches_by_id: dict[str, dict[str, Watch]] = {}
        self._ids_by_client: dict[str, list[str]] = {}

    def add(self, client: str, id: str, watch: Watch) -> None:
        """Begin a watch. A second one of the same command replaces the first; a client's 17th ends its oldest."""
        ids = self._ids_by_client.setdefault(client, [])
        if id not in ids:
            ids.append(id)
        if len(ids) > WATCHES_OF_CLIENT_MAX:
            self.remove(client, ids[0])
        self._watches_by_id.setdefault(id, {})[client] = watch

    def hear(self, id: str, chunk: Chunk) -> None:
        """Pass a new chunk on to all who watch its command."""
        for watch in list(self._watches_by_id.get(id, {}).values()):
            watch.hear(chunk)

    def ids(self) -> list[str]:
        """The commands that somebody watches."""
        return list(self._watches_by_id)

    def heard_until(self, id: str) -> int:
        """The number of the newest chunk that everybody who watches a command has heard; -1 for none."""
        return min((watch.last_seq for watch in self._watches_by_id.get(id, {}).values()), default=-1)

    def remove(self, client: str, id: str) -> None:
        """End one client's watch of one command."""
        watches = self._watches_by_id.get(id, {})
        watches.pop(client, None)
        if not watches:
            self._watches_by_id.pop(id, None)
        ids = self._ids_by_client.get(client, [])
        if id in ids:
            ids.remove(id)
        if not ids:
            self._ids_by_client.pop(client, None)

    def forget_client(self, client: str) -> None:
        """End all watches of a client that is gone."""
        for id in list(self._ids_by_client.get(client, ())):
            self.remove(client, id)

    def forget_command(self, id: str) -> None:
        """End all watches of a command that is over."""
        for client in list(self._watches_by_id.get(id, ())):
            self.remove(client, id)
