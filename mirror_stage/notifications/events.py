"""What clients of the `/alerts` namespace hear of groups and messages."""

from __future__ import annotations

from typing import Any

from mirror_stage.alerts.events import NAMESPACE
from mirror_stage.core.instants import Instant
from mirror_stage.notifications.domain import Delivery, Group
from mirror_stage.notifications.on_wire import delivery_on_wire, group_on_wire

GROUP_UPDATE, DELIVERY_UPDATE = "group-update", "delivery-update"
Sent = tuple[str, str, dict[str, Any]]  # namespace, event, payload


def group_update(group: Group, now: Instant) -> Sent:
    """`{"version": n, "group": {...}}`: the group without its problems."""
    return NAMESPACE, GROUP_UPDATE, {"version": group.version, "group": group_on_wire(group, now, with_members=False)}


def delivery_update(delivery: Delivery) -> Sent:
    """`{"delivery": {...}}`."""
    return NAMESPACE, DELIVERY_UPDATE, {"delivery": delivery_on_wire(delivery)}
