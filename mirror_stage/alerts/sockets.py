"""Socket.IO: `/alerts`."""

from __future__ import annotations

from flask_socketio import SocketIO

from mirror_stage.alerts.events import NAMESPACE


def register(socketio: SocketIO) -> None:
    """Install the handlers of the namespace."""
    socketio.on_event("connect", _connect, namespace=NAMESPACE)


def _connect(_auth: object = None) -> None:
    """Nothing more to do: the gate has let the client in."""
