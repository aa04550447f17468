"""How a route or a socket finds a service: by its class."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from flask import current_app

Service = TypeVar("Service")


class Services:
    """The services of one EGO, each found by its class. `wiring.py` puts them in."""

    def __init__(self, *services: object):
        self._by_class: dict[type[Any], object] = {}
        self.add(*services)

    def add(self, *services: object) -> None:
        """Put in some more."""
        self._by_class |= {type(one): one for one in services}

    def __getitem__(self, kind: type[Service]) -> Service:
        return cast("Service", self._by_class[kind])

    def get(self, kind: type[Service]) -> Service | None:
        """The service of this class; None if this EGO has none."""
        return cast("Service | None", self._by_class.get(kind))


def services() -> Services:
    """The services of the application that answers this request."""
    return cast("Services", current_app.extensions["mirror_stage"])


def service(kind: type[Service]) -> Service:
    """The service of this class of the application that answers this request."""
    return services()[kind]
