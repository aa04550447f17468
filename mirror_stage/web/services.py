"""How a route or a socket finds a service: by its class."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from flask import current_app

Service = TypeVar("Service")


class Services:
    """The services of one EGO, each found by its class. `app.py` puts them in."""

    def __init__(self, *services: object):
        self._by_class: dict[type[Any], object] = {type(one): one for one in services}

    def __getitem__(self, kind: type[Service]) -> Service:
        return cast("Service", self._by_class[kind])


def services() -> Services:
    """The services of the application that answers this request."""
    return cast("Services", current_app.extensions["mirror_stage"])


def service(kind: type[Service]) -> Service:
    """The service of this class of the application that answers this request."""
    return services()[kind]
