"""The permission that each route and each Socket.IO event needs. EGO refuses what is not in these tables."""

from __future__ import annotations

from collections.abc import Mapping

from mirror_stage.access.domain import (
    AGENT,
    MANAGE,
    OPEN,
    OPERATE,
    OWN_SESSIONS,
    READ_COMMANDS,
    REPORT,
    VIEW,
)

PERMISSION_BY_ROUTE: Mapping[str, str] = {
    "health.live": OPEN,
    "health.ready": OPEN,
    "health.info": VIEW,
    "tls.root": OPEN,  # a certificate is no secret
    "api-docs.openapi_json": OPEN,
    "hud.index": OPEN,  # code and pictures without data: the HUD reads its data from the API
    "hud.asset": OPEN,
    "hud.icon": OPEN,
    "hud.licences": OPEN,
    "hud.plain": VIEW,
    "hud.plain_part": OPEN,
    "installer.enroll_script": OPEN,  # code without data, too: a host has no credential yet
    "installer.enroll_file": OPEN,
    "metrics.post_batch": REPORT,
    "twin.state": VIEW,
    "past.diff": VIEW,
    "past.timeline": VIEW,
    "hosts.list_hosts": VIEW,
    "hosts.get_host": VIEW,
    "hosts.delete_host": OPERATE,
    "host-history.of_host": VIEW,
    "history.of_many": VIEW,
    "alerts.active": VIEW,
    "alerts.list_alerts": VIEW,
    "alerts.put_ack": OPERATE,
    "notifications.put_group_ack": OPERATE,
    "alerts.delete_ack": OPERATE,
    "alert-rules.list_rules": VIEW,
    "alert-rules.create_rule": MANAGE,
    "alert-rules.preview": MANAGE,
    "backtest.backtest": MANAGE,
    "disks.of_host": VIEW,
    "alert-rules.get_rule": VIEW,
    "alert-rules.put_rule": MANAGE,
    "alert-rules.delete_rule": MANAGE,
    "host-rules.of_host": VIEW,
    "quiet.list_silences": VIEW,
    "quiet.create_silence": OPERATE,
    "quiet.change_silence": OPERATE,
    "quiet.end_silence": OPERATE,
    "quiet.list_maintenance": VIEW,
    "quiet.create_maintenance": OPERATE,
    "quiet.change_maintenance": OPERATE,
    "quiet.end_maintenance": OPERATE,
    "quiet.list_mute_times": VIEW,
    "quiet.create_mute_time": MANAGE,
    "quiet.change_mute_time": MANAGE,
    "quiet.end_mute_time": MANAGE,
    "commands.create": OPERATE,
    "commands.list_commands": READ_COMMANDS,
    "commands.get_command": READ_COMMANDS,
    "commands.events": READ_COMMANDS,
    "commands.cancel": OPERATE,
    "commands.pending": AGENT,
    "commands.result": AGENT,
    "commands.heartbeat": AGENT,
    "commands.output": AGENT,
    "figures.ego": VIEW,
    "figures.of_fleet": VIEW,
    "prometheus.list_targets": VIEW,
    "dispatch.get_dispatch": VIEW,
    "dispatch.put_dispatch": OPERATE,  # to resume: MANAGE, see the route
    "field.pending": AGENT,
    "field.result": AGENT,
    "access.me": OPEN,
    "access.sign_in": OPEN,
    "access.sign_out": OPEN,
    "access.list_sessions": OWN_SESSIONS,
    "access.end_sessions": OWN_SESSIONS,
    "access.end_session": OWN_SESSIONS,
    "access.list_tokens": MANAGE,
    "access.create_token": MANAGE,
    "access.revoke_token": MANAGE,
    "access.list_audit": MANAGE,
    "enrolment.enrol": OPEN,  # who has neither a code nor a token waits for an admin
    "enrolment.rotate": AGENT,
    "enrolment.list_agents": MANAGE,
    "enrolment.admit_field": MANAGE,
    "enrolment.approve": MANAGE,
    "enrolment.label": MANAGE,
    "enrolment.unlock": MANAGE,
    "enrolment.revoke": MANAGE,
    "enrolment.list_codes": MANAGE,
    "enrolment.create_code": MANAGE,
    "enrolment.end_code": MANAGE,
    "notifications.list_channels": VIEW,  # without settings, unless the actor may MANAGE; never with secrets
    "notifications.get_channel": VIEW,
    "notifications.create_channel": MANAGE,
    "notifications.put_channel": MANAGE,
    "notifications.delete_channel": MANAGE,
    "notifications.test_channel": MANAGE,
    "notifications.get_routes": VIEW,
    "notifications.put_routes": MANAGE,
    "notifications.list_groups": VIEW,
    "notifications.get_group": VIEW,
    "notifications.list_deliveries": VIEW,
    "notifications.retry_delivery": MANAGE,
    "alerting.export_document": MANAGE,
    "alerting.plan": MANAGE,
    "alerting.apply": MANAGE,
}

# By namespace, then event. A client that may not `connect` receives no event of the namespace.
PERMISSION_BY_EVENT: Mapping[str, Mapping[str, str]] = {
    "/digital-twin": {
        "connect": VIEW,
        "disconnect": OPEN,
        "subscribe": VIEW,
        "seen": VIEW,
        "resync": VIEW,
        "watch-host": VIEW,
        "unwatch-host": VIEW,
    },
    "/commands": {"connect": READ_COMMANDS, "disconnect": OPEN, "watch-command": READ_COMMANDS},
    "/alerts": {"connect": VIEW},
}


def permission_of_event(namespace: str, event: str) -> str | None:
    """The permission that an event of a client needs; None if the table has none."""
    return PERMISSION_BY_EVENT.get(namespace, {}).get(event)
