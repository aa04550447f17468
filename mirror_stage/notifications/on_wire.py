"""Groups and messages on the wire, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mirror_stage.core.instants import Instant, to_optional_text, to_text
from mirror_stage.notifications.domain import Delivery, Group, Member, in_order

LISTED_MAX = 50  # problems of a group in a list of groups
NAMED_MAX = 3  # hosts of a message


def group_on_wire(
    group: Group, now: Instant, *, with_members: bool = True, members_max: int | None = None
) -> dict[str, Any]:
    """A GroupSchema; `members` only if asked for, at most `members_max`, the open and worst first."""
    found: dict[str, Any] = {
        "id": group.id,
        "route": group.route,
        "cause": group.cause,
        "rule": group.rule,
        "rack": group.rack,
        "severity": group.severity,
        "open": len(group.open_members(now)),
        "total": len(group.members),
        "openedAt": to_text(group.opened_at),
        "updatedAt": to_text(group.updated_at),
        "toldAt": to_optional_text(group.told_at),
        "toldTo": list(group.told_to),
        "isFlapping": group.is_flapping,
        "closedAt": to_optional_text(group.closed_at),
        "version": group.version,
    }
    if with_members:
        found["members"] = [_member_on_wire(one, now) for one in in_order(group, now)[:members_max]]
    return found


def _member_on_wire(one: Member, now: Instant) -> dict[str, Any]:
    return {
        "alertId": one.alert_id,
        "hostname": one.hostname,
        "rule": one.rule,
        "subject": one.subject,
        "severity": one.severity,
        "value": one.value,
        "threshold": one.threshold,
        "firedAt": to_text(one.fired_at),
        "endedAt": None if one.is_open(now) else to_optional_text(one.ended_at),
        "reason": one.reason,
        "isUnknown": one.is_unknown and one.is_open(now),
        "quiet": list(one.quiet),
    }


def delivery_on_wire(one: Delivery) -> dict[str, Any]:
    """A DeliverySchema."""
    return {
        "id": one.id,
        "groupId": one.group_id,
        "channel": one.channel,
        "kind": one.kind,
        "severity": one.severity,
        "state": one.state,
        "attempts": one.attempts,
        "createdAt": to_text(one.created_at),
        "nextAt": to_text(one.next_at) if one.ended_at is None else None,
        "endedAt": to_optional_text(one.ended_at),
        "status": one.status,
        "detail": one.detail,
        "mergedInto": one.merged_into,
    } | _about(one.facts)


def _about(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a message tells of; of a digest only how many messages it has."""
    names = dict.fromkeys(one["hostname"] for one in facts.get("members", ()))
    return {
        **{name: facts.get(name) for name in ("route", "rule", "rack", "cause")},
        "hostnames": list(names)[:NAMED_MAX],
        "total": facts.get("total", len(facts.get("messages", ()))),
    }
