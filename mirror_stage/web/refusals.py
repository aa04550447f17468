"""Which peers were refused, and why: a log line for each peer and status, and a sentence for readiness."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from mirror_stage.core.budget import Budget
from mirror_stage.core.clock import elapsed_seconds

log = logging.getLogger(__name__)

NOTED = frozenset(
    {400, 401, 403, 413, 415, 421, 426, 429}
)  # somebody has to act; other statuses pass by themselves or are no fault
WINDOW_SECONDS = 600.0
PEERS_MAX = 100
_DETAIL_MAX = 300
_DETAIL = "mirror_stage.refusal"


@dataclass(slots=True)
class RefusedPeer:
    """The recent refusals of one peer: how many in each minute, and the newest reason."""

    by_minute: Counter[int] = field(default_factory=Counter)
    detail: str = ""
    logged_at: dict[int, float] = field(default_factory=dict)  # when this was last logged, by status


class Refusals:
    """The refusals of the last ten minutes, for the PEERS_MAX peers that were refused last."""

    def __init__(self) -> None:
        self.by_status: Counter[int] = Counter()  # all since the start
        self._by_peer: dict[str, RefusedPeer] = {}
        self._lines = Budget(per_second=0.1, burst=20)  # a client with many addresses must not fill the log

    def note(self, peer: str, status: int, detail: str, now: float | None = None) -> None:
        """Count one refusal, and log it once in ten minutes for each peer and status."""
        self.by_status[status] += 1
        if status not in NOTED:
            return
        now = elapsed_seconds() if now is None else now
        refused = self._by_peer.pop(peer, None) or RefusedPeer()
        self._by_peer[peer] = refused  # the newest stands last
        if len(self._by_peer) > PEERS_MAX:
            del self._by_peer[next(iter(self._by_peer))]
        minute = int(now // 60)
        refused.by_minute[minute] += 1
        for old in [known for known in refused.by_minute if known <= minute - WINDOW_SECONDS // 60]:
            del refused.by_minute[old]
        refused.detail = detail[:_DETAIL_MAX]
        if now - refused.logged_at.get(status, -WINDOW_SECONDS) >= WINDOW_SECONDS and self._lines.take(now):
            refused.logged_at[status] = now
            log.warning("%s is refused (%d): %s", peer, status, refused.detail)

    def check(self, now: float | None = None) -> dict[str, Any]:
        """The readiness check: ok if nobody was refused; else which peer, how often and why."""
        first = int((elapsed_seconds() if now is None else now) // 60) - WINDOW_SECONDS // 60
        counts = {
            peer: sum(count for minute, count in refused.by_minute.items() if minute > first)
            for peer, refused in self._by_peer.items()
        }
        peers = [peer for peer, count in counts.items() if count]
        if not peers:
            return {"ok": True, "detail": "nobody in the last 10 minutes"}
        newest = peers[-1]
        times = "once" if counts[newest] == 1 else f"{counts[newest]} times"
        others = f" (and {len(peers) - 1} more peers)" if len(peers) > 1 else ""
        detail = f"{newest} was refused {times} in the last 10 minutes{others}: {self._by_peer[newest].detail}"
        return {"ok": False, "detail": detail}


def explain(environ: dict[str, Any], detail: str, errors: list[dict[str, Any]] | None) -> None:
    """Leave the reason of a refusal in `environ`, for the outermost wall: the first error, if there is any."""
    if errors:
        first = errors[0]
        field = ".".join(str(part) for part in (first.get("index"), first.get("field")) if part not in {None, ""})
        place = f"samples.{field}" if "index" in first else field
        detail = f"{place}: {first.get('message', detail)}" if place else detail
    environ[_DETAIL] = detail


def reason_left(environ: dict[str, Any]) -> str | None:
    """The reason that `explain` has left, None if there is none."""
    return environ.get(_DETAIL)
