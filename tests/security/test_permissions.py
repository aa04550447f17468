"""The one table from route to permission, and who has one while there are no credentials."""

from __future__ import annotations

import pytest
from flask import Flask

from mirror_stage.access.permissions import PERMISSIONS, check_declared, refusal
from mirror_stage.app import create_app
from mirror_stage.core.config import Config


def test_every_permission_is_a_known_one() -> None:
    assert set(PERMISSIONS.values()) <= {"open", "report", "view", "operate", "agent"}


def test_the_table_has_exactly_the_routes_there_are() -> None:
    app = create_app(Config(testing=True))
    assert {rule.endpoint for rule in app.url_map.iter_rules()} == set(PERMISSIONS)


def test_a_route_that_nobody_declared_stops_the_start() -> None:
    app = Flask(__name__)
    app.add_url_rule("/api/back-door", "back_door", lambda: "")
    with pytest.raises(RuntimeError, match="back_door"):
        check_declared(app)


@pytest.mark.parametrize("permission", ["report", "view", "operate", "agent"])
@pytest.mark.parametrize(
    ("security", "loopback", "proxied", "allowed"),
    [
        ("auto", True, False, True),
        ("auto", True, True, False),  # a proxy on this machine hands nobody this machine's trust
        ("auto", False, False, False),
        ("strict", True, False, False),
        ("open", False, True, True),
    ],
)
def test_who_may_do_what_without_credentials(
    permission: str, security: str, loopback: bool, proxied: bool, allowed: bool
) -> None:
    reason = refusal(permission, security=security, loopback=loopback, proxied=proxied)
    assert (reason is None) == allowed


@pytest.mark.parametrize("security", ["auto", "strict", "open"])
def test_health_is_open_to_everybody(security: str) -> None:
    assert refusal(PERMISSIONS["health.live"], security=security, loopback=False, proxied=True) is None
