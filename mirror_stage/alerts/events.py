"""What clients of the `/alerts` namespace hear."""

from __future__ import annotations

from typing import Any

from mirror_stage.alerts.domain import Transition
from mirror_stage.alerts.schemas import AlertSchema

NAMESPACE = "/alerts"
ALERT_UPDATE = "alert-update"
RULES_CHANGED = "rules-changed"
_schema = AlertSchema()


def alert_update(transition: Transition) -> dict[str, Any]:
    """`{"transition": "fired|updated|resolved", "version": n, "alert": {...}}`."""
    return {
        "transition": transition.kind,
        "version": transition.alert.version,
        "alert": _schema.dump(transition.alert),
    }
