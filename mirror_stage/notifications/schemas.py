"""Channels, routes, groups and messages on the wire, field by field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from marshmallow import RAISE, ValidationError, fields, validates_schema
from marshmallow.validate import Length, OneOf, Range, Regexp

from mirror_stage.alerts.domain import SEVERITIES
from mirror_stage.core import selector
from mirror_stage.core.instants import SECOND
from mirror_stage.notifications import channels, domain
from mirror_stage.notifications.channels import EMAIL, Channel
from mirror_stage.notifications.directory import KEPT, ROUTES_MAX, SECRETS, Wanted
from mirror_stage.notifications.domain import Route
from mirror_stage.notifications.words import LANGUAGES, Manner, template_trouble
from mirror_stage.web.schemas import Number, Page, PageQuery, Text, Truth, Whole, WireSchema, instant, nullable

NAME = Regexp(
    r"[a-z0-9][a-z0-9_.-]{0,62}\Z", error="must be 1 to 63 of a-z 0-9 _ . -, and begin with a letter or a digit"
)
_ADDRESS = Regexp(
    r"[^\s@<>,;:\"()]{1,64}@[^\s@<>,;:\"()]{1,190}\Z", error="must be one address, such as ops@example.org"
)
_SERVER = Regexp(r"[A-Za-z0-9.:_-]{1,253}\Z", error="must be the name or the address of a server, without a port")
_SETTINGS = ("server", "port", "security", "username", "sender", "recipients")


def _checked(trouble: Callable[[str], str | None]) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        why = trouble(value) if value is not None else None
        if why is not None:
            raise ValidationError(why)

    return check


def _selector_trouble(text: str) -> str | None:
    try:
        selector.parse(text)
    except selector.BadSelector as why:
        return str(why)
    return None


class ChannelFields(WireSchema):
    """A channel. `url` and `secret` are write-only: left out, they stay; null takes them away."""

    class Meta:
        unknown = RAISE  # a misspelt key would be a setting that silently does not count

    kind = Text(required=True, validate=OneOf(channels.KINDS))
    url = Text(allow_none=True, validate=Length(1, 4_000))
    secret = Text(allow_none=True, validate=Length(1, 4_000))
    language = Text(load_default="en", validate=OneOf(LANGUAGES))
    title = Text(allow_none=True, load_default=None, validate=_checked(template_trouble))
    body = Text(allow_none=True, load_default=None, validate=_checked(template_trouble))
    ratePerMinute = Whole(load_default=10, validate=Range(1, 600))
    fallback = Text(
        allow_none=True, load_default=None, validate=NAME,
        metadata={"description": "the channel that gets what this one does not take"},
    )  # fmt: skip
    server = Text(allow_none=True, validate=_SERVER)
    port = Whole(allow_none=True, validate=Range(1, 65_535))
    security = Text(allow_none=True, validate=OneOf(channels.SECURITIES))
    username = Text(allow_none=True, validate=Length(1, 200))
    sender = Text(allow_none=True, validate=_ADDRESS)
    recipients = fields.List(Text(validate=_ADDRESS), allow_none=True, validate=Length(1, 50))

    @validates_schema
    def check(self, values: dict[str, Any], **_kwargs: Any) -> None:
        """Only a channel of the kind `email` has a server."""
        extra = [name for name in _SETTINGS if values.get(name) is not None]
        if extra and values.get("kind") not in {EMAIL, None}:
            raise ValidationError(f"only a channel of the kind {EMAIL} has it", extra[0])


class NewChannelSchema(ChannelFields):
    """A channel with its name."""

    name = Text(required=True, validate=NAME)


def wanted(name: str, said: Mapping[str, Any], *, is_document: bool = False) -> Wanted:
    """The channel that a validated ChannelFields says. In a document `kept:` is the secret that EGO has."""
    secrets = {one: said[one] for one in SECRETS if one in said}
    if is_document:
        secrets = {**dict.fromkeys(SECRETS), **{one: text for one, text in secrets.items() if text != KEPT}}
        secrets = {one: text for one, text in secrets.items() if said.get(one) != KEPT}
    settings = {one: said[one] for one in _SETTINGS if said.get(one) is not None}
    manner = Manner(said["language"], said["title"], said["body"])
    return Wanted(name, said["kind"], settings, manner, said["ratePerMinute"], secrets, said["fallback"])


class ChannelSchema(WireSchema):
    """A channel. Who may not change channels sees `name`, `kind`, `host` and `secretSet`; the rest is null."""

    name = fields.String(required=True)
    kind = fields.String(required=True, validate=OneOf(channels.KINDS))
    host = nullable(fields.String)
    secretSet = fields.Boolean(required=True)
    language = nullable(fields.String)
    title = nullable(fields.String)
    body = nullable(fields.String)
    ratePerMinute = nullable(fields.Integer)
    fallback = nullable(fields.String)
    server = nullable(fields.String)
    port = nullable(fields.Integer)
    security = nullable(fields.String)
    username = nullable(fields.String)
    sender = nullable(fields.String)
    recipients = fields.List(fields.String(), required=True, allow_none=True)
    source = nullable(fields.String)
    version = nullable(fields.Integer)


class ChannelList(WireSchema):
    items = fields.List(fields.Nested(ChannelSchema), required=True)
    total = fields.Integer(required=True)


def channel_on_wire(channel: Channel, host: str | None, *, is_whole: bool) -> dict[str, Any]:
    """A ChannelSchema."""
    found = dict.fromkeys(ChannelSchema._declared_fields) | {
        "name": channel.name,
        "kind": channel.kind,
        "host": host,
        "secretSet": channel.sealed is not None,
    }
    if not is_whole:
        return found
    manner = channel.manner
    return {
        **found,
        **channel.settings,
        "language": manner.language,
        "title": manner.title,
        "body": manner.body,
        "ratePerMinute": channel.rate_per_minute,
        "fallback": channel.fallback,
        "source": channel.source,
        "version": channel.version,
    }


class TestedSchema(WireSchema):
    """What came of a trial: the receiver's status, and what went wrong."""

    accepted = fields.Boolean(required=True)
    status = nullable(fields.Integer)
    detail = nullable(fields.String)
    latencyMs = fields.Integer(required=True)


class RouteFields(WireSchema):
    """Which alerts go to which channels. `escalateAfterSeconds` after the first message `escalateTo` is told, too.

    During `muteTimes` nobody is told of what is less severe than `passes`; `none`: of anything.
    """

    class Meta:
        unknown = RAISE

    name = Text(required=True, validate=NAME)
    where = Text(load_default=selector.EVERY_HOST, validate=_checked(_selector_trouble))
    rules = fields.List(Text(validate=Length(1, 100)), load_default=lambda: ["*"], validate=Length(1, 50))
    minSeverity = Text(load_default="warning", validate=OneOf(SEVERITIES))
    channels = fields.List(Text(validate=NAME), required=True, validate=Length(0, 20))
    escalateAfterSeconds = Number(allow_none=True, load_default=None, validate=Range(60, 7 * 86_400))
    escalateTo = fields.List(Text(validate=NAME), load_default=list, validate=Length(0, 20))
    muteTimes = fields.List(Text(validate=Length(1, 64)), load_default=list, validate=Length(0, 20))
    passes = Text(load_default="critical", validate=OneOf((*SEVERITIES, domain.NOTHING)))

    @validates_schema
    def check(self, values: dict[str, Any], **_kwargs: Any) -> None:
        if (values.get("escalateAfterSeconds") is None) != (not values.get("escalateTo")):
            raise ValidationError("needs both escalateAfterSeconds and escalateTo", "escalateTo")


# `continue` is a word of Python, so it cannot be written like the others.
RouteFields._declared_fields["continue"] = Truth(load_default=False)


class RoutesFields(WireSchema):
    """All routes, in their order."""

    routes = fields.List(fields.Nested(RouteFields), required=True, validate=Length(0, ROUTES_MAX))


class RouteSchema(WireSchema):
    """A route, as RouteFields says."""

    name = fields.String(required=True)
    where = fields.String(required=True)
    rules = fields.List(fields.String(), required=True)
    minSeverity = fields.String(required=True, validate=OneOf(SEVERITIES))
    channels = fields.List(fields.String(), required=True)
    escalateAfterSeconds = nullable(fields.Float)
    escalateTo = fields.List(fields.String(), required=True)
    muteTimes = fields.List(fields.String(), required=True)
    passes = fields.String(required=True, validate=OneOf((*SEVERITIES, domain.NOTHING)))


RouteSchema._declared_fields["continue"] = fields.Boolean(required=True)


class RoutesSchema(WireSchema):
    """All routes, in their order, and where they are kept."""

    routes = fields.List(fields.Nested(RouteSchema), required=True)
    source = fields.String(required=True, validate=OneOf(("hud", "file")))
    version = fields.Integer(required=True)


def route_of(said: Mapping[str, Any]) -> Route:
    """The route that a validated RouteFields says."""
    after = said["escalateAfterSeconds"]
    return Route(
        said["name"],
        tuple(said["channels"]),
        said["where"].strip(),
        tuple(said["rules"]),
        said["minSeverity"],
        said["continue"],
        None if after is None else round(after * SECOND),
        tuple(said["escalateTo"]),
        tuple(said["muteTimes"]),
        said["passes"],
    )


def route_on_wire(route: Route) -> dict[str, Any]:
    """A RouteSchema."""
    return {
        "name": route.name,
        "where": route.where,
        "rules": list(route.rules),
        "minSeverity": route.min_severity,
        "channels": list(route.channels),
        "continue": route.continues,
        "escalateAfterSeconds": None if route.escalate_after is None else route.escalate_after / SECOND,
        "escalateTo": list(route.escalate_to),
        "muteTimes": list(route.mute_times),
        "passes": route.passes,
    }


class GroupQuery(PageQuery):
    """`open`: only groups that are open, or only those that are over."""

    open = fields.Boolean(load_default=None)


class MemberSchema(WireSchema):
    """A problem of a group. `quiet`: why nobody is told of it now. `isUnknown`: its host is silent."""

    alertId = fields.String(required=True)
    hostname = fields.String(required=True)
    rule = fields.String(required=True)
    subject = nullable(fields.String)
    severity = fields.String(required=True, validate=OneOf(SEVERITIES))
    value = fields.Float(required=True)
    threshold = fields.Float(required=True)
    firedAt = instant()
    endedAt = instant(allow_none=True)
    reason = nullable(fields.String)
    isUnknown = fields.Boolean(required=True)
    quiet = fields.List(fields.String(), required=True)


class GroupSchema(WireSchema):
    """Problems that are told together. `route` null: nobody is told."""

    id = fields.String(required=True)
    route = nullable(fields.String)
    cause = nullable(fields.String)
    rule = nullable(fields.String)
    rack = nullable(fields.String)
    severity = fields.String(required=True, validate=OneOf(SEVERITIES))
    open = fields.Integer(required=True)
    total = fields.Integer(required=True)
    openedAt = instant()
    updatedAt = instant()
    toldAt = instant(allow_none=True)
    toldTo = fields.List(fields.String(), required=True)
    isFlapping = fields.Boolean(required=True)
    closedAt = instant(allow_none=True)
    version = fields.Integer(required=True)
    members = fields.List(fields.Nested(MemberSchema), required=True)


class GroupPage(Page):
    items = fields.List(fields.Nested(GroupSchema), required=True)


class DeliveryQuery(PageQuery):
    """Messages of a channel, in a state, of a group."""

    channel = Text(validate=Length(1, 63))
    state = Text(validate=OneOf(domain.STATES))
    groupId = Text(validate=Length(1, 64))


class DeliverySchema(WireSchema):
    """A message to one channel. `status` is the receiver's last answer, `detail` what went wrong.

    From `route` on: what it tells of; `total` problems (of a digest: messages), and at most three of their hosts.
    """

    id = fields.String(required=True)
    groupId = nullable(fields.String)
    channel = fields.String(required=True)
    kind = fields.String(required=True, validate=OneOf(domain.KINDS))
    severity = fields.String(required=True, validate=OneOf(SEVERITIES))
    state = fields.String(required=True, validate=OneOf(domain.STATES))
    attempts = fields.Integer(required=True)
    createdAt = instant()
    nextAt = instant(allow_none=True)
    endedAt = instant(allow_none=True)
    status = nullable(fields.Integer)
    detail = nullable(fields.String)
    mergedInto = nullable(fields.String)
    route = nullable(fields.String)
    rule = nullable(fields.String)
    rack = nullable(fields.String)
    cause = nullable(fields.String)
    hostnames = fields.List(fields.String(), required=True)
    total = fields.Integer(required=True)


class HeardQuery(WireSchema):
    """`rule`: of this one only."""

    rule = Text(load_default=None, validate=Length(1, 120))


class WhySchema(WireSchema):
    """Why a route takes an alert (`takes`), or does not: another host, rule or severity; `earlier`: a route before it takes it."""

    name = fields.String(required=True)
    why = fields.String(required=True, validate=OneOf(domain.WHYS))


class HeardSchema(WireSchema):
    """Who hears of an alert of a rule that is in force for a host. No `channels`: nobody."""

    rule = fields.String(required=True)
    severity = fields.String(required=True, validate=OneOf(SEVERITIES))
    channels = fields.List(fields.String(), required=True)
    routes = fields.List(fields.Nested(WhySchema), required=True)


class HeardList(WireSchema):
    hostname = fields.String(required=True)
    items = fields.List(fields.Nested(HeardSchema), required=True)
    total = fields.Integer(required=True)


class ReachSchema(WireSchema):
    """For how many hosts a rule is, and for how many of them nobody hears of it; `example` is one of these."""

    rule = fields.String(required=True)
    severity = fields.String(required=True, validate=OneOf(SEVERITIES))
    hosts = fields.Integer(required=True)
    unheard = fields.Integer(required=True)
    example = nullable(fields.String)


class ReachList(WireSchema):
    items = fields.List(fields.Nested(ReachSchema), required=True)
    total = fields.Integer(required=True)


class SignOfLifeSchema(WireSchema):
    """Whether EGO tells of alerts, and the sign of life that it gives. `host` null: nobody watches EGO."""

    notify = fields.String(required=True, validate=OneOf(("on", "dry", "off")))
    host = nullable(fields.String)
    seconds = fields.Float(required=True)
    acceptedAt = instant(allow_none=True)
    detail = nullable(fields.String)


class DeliveryPage(Page):
    items = fields.List(fields.Nested(DeliverySchema), required=True)
