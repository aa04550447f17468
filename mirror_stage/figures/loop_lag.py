"""How late the event loop is."""

from __future__ import annotations

from time import perf_counter

import gevent

from mirror_stage.figures.instruments import LAG_SECONDS, Histogram

EVERY_SECONDS = 0.1


class LoopLag:
    """Sleeps again and again, and counts how much later than asked it wakes: so long everything else waited, too."""

    def __init__(self) -> None:
        self.seconds = Histogram(LAG_SECONDS)
        self._watch: gevent.Greenlet | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._watch = gevent.spawn(self._run)

    def stop(self) -> None:
        """End watching."""
        if self._watch is not None:
            self._watch.kill(block=False)

    def _run(self) -> None:
        while True:
            due = perf_counter() + EVERY_SECONDS
            gevent.sleep(EVERY_SECONDS)
            self.seconds.observe(max(0.0, perf_counter() - due))
