"""A listener that is closed without losing a connection: the kernel would reset those that wait in its queue."""

from __future__ import annotations

import contextlib

from gevent.server import StreamServer


class DrainedServer(StreamServer):  # type: ignore[misc]  # gevent has no types
    """gevent's listener. Before it closes it takes every connection that the kernel has accepted for it."""

    def close(self) -> None:
        with contextlib.suppress(OSError):  # no file is left for another connection
            while self.started and self._take():
                pass
        super().close()

    def _take(self) -> bool:
        """Take one connection, if there is one and room for it, and begin to serve it."""
        if self.full():
            return False
        found = self.do_read()
        if found:
            self.do_handle(*found)
        return bool(found)
