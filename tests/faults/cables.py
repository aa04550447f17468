"""A cable between an EGO and a server, which a test can cut: connections stay open, and nothing comes through."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from types import TracebackType

PIECE = 65_536


class Cable:
    """Passes on what comes to `port` to `target`, another port of this machine. Use it in a `with` statement."""

    def __init__(self, target: int, at: tuple[str, int] = ("127.0.0.1", 0)):
        """`at` is the address of this end; port 0: any free one."""
        self.target = target
        self._whole = threading.Event()
        self._whole.set()
        self._listener = socket.create_server(at)
        self.port: int = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self.lost_bytes = 0  # that met the cut: proof that the fault was in the way

    def __enter__(self) -> Cable:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._listener.close()
        self._whole.set()
        self._drop()

    def cut(self) -> None:
        """Let nothing through any more. Nobody is told: no end, no reset."""
        self._whole.clear()

    def mend(self) -> None:
        """Pass on again what comes over new connections. Those of before are reset, as after a long cut."""
        self._drop()
        self._whole.set()

    def _drop(self) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._ends = []

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._ends.append(near)
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        self._whole.wait()
        with contextlib.suppress(OSError):
            far = self._connect()
            self._ends.append(far)
            threading.Thread(target=self._pass, args=(far, near), daemon=True).start()
            self._pass(near, far)

    def _connect(self) -> socket.socket:
        """A connection to the target. Called in a thread of its own."""
        return socket.create_connection(("127.0.0.1", self.target))

    def _pass(self, come: socket.socket, go: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := come.recv(PIECE):
                if not self._whole.is_set():
                    self.lost_bytes += len(piece)
                    self._whole.wait()
                go.sendall(piece)
        for end in (come, go):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def cables(*targets: int) -> Iterator[list[Cable]]:
    """A cable to each of these ports."""
    with contextlib.ExitStack() as opened:
        yield [opened.enter_context(Cable(target)) for target in targets]
