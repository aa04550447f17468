"""Strict marshmallow fields that all schemas share: a value of the wrong type is refused, never converted."""

from __future__ import annotations

import math
import typing
from collections.abc import Iterator

from marshmallow import EXCLUDE, Schema, ValidationError, fields
from marshmallow.validate import Range

from mirror_stage.core import instants
from mirror_stage.core.instants import EARLIEST, LATEST
from mirror_stage.core.names import BadField, normalise_hostname

SAFE_WHOLE = 2**53 - 1  # what every JSON reader can hold
PAGES_MAX = 10_000  # rows, in all pages together: a list is for people


def rows_of(messages: typing.Any, path: tuple[str, ...] = ()) -> Iterator[dict[str, str]]:
    """marshmallow's nested messages as rows of a dotted path and a text."""
    if isinstance(messages, dict):
        for key, inner in messages.items():
            yield from rows_of(inner, path if key in {"_schema", "key", "value"} else (*path, str(key)))
    else:
        yield {"field": ".".join(path), "message": "; ".join(str(text) for text in messages)}


class WireSchema(Schema):
    """Inbound objects: unknown keys are ignored, so that a newer agent works with an older EGO."""

    class Meta:
        unknown = EXCLUDE


class Number(fields.Float):
    """A finite JSON number: no number in quotes, no `true` for 1."""

    def _validated(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValidationError("must be a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise ValidationError("must be a finite number")
        return number


class Whole(fields.Integer):
    """A JSON number without a fraction: 12 and 12.0, but neither 12.7 nor "12"."""

    def _validated(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValidationError("must be a whole number")
        if isinstance(value, float) and not value.is_integer():
            raise ValidationError("must be a whole number")
        return int(value)


class Truth(fields.Boolean):
    """`true` or `false`, nothing else."""

    def _deserialize(self, value: typing.Any, attr: str | None, data: typing.Any, **kwargs: typing.Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("must be true or false")
        return value


class Text(fields.String):
    """A string that can be stored and sent: no NUL, no half of a surrogate pair."""

    def _deserialize(self, value: typing.Any, attr: str | None, data: typing.Any, **kwargs: typing.Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("must be a string")
        if "\0" in value:
            raise ValidationError("must not contain NUL")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise ValidationError("has half of a surrogate pair") from error
        return value


class Hostname(Text):
    """A host's name in its normal form (`normalise_hostname`)."""

    def _deserialize(self, value: typing.Any, attr: str | None, data: typing.Any, **kwargs: typing.Any) -> str:
        try:
            return normalise_hostname(super()._deserialize(value, attr, data, **kwargs))
        except BadField as error:
            raise ValidationError(error.message) from error


class InstantText(fields.Field[instants.Instant]):
    """An instant in an answer: ISO 8601 UTC, milliseconds, `Z`."""

    def _serialize(self, value: typing.Any, attr: str | None, obj: object, **kwargs: object) -> str | None:
        return instants.to_optional_text(value)


def nullable(field: type[fields.Field[typing.Any]], **options: typing.Any) -> fields.Field[typing.Any]:
    """A field of an answer that is always there, and may be null."""
    return field(required=True, allow_none=True, **options)


def instant(**options: typing.Any) -> InstantText:
    """A field of an answer with an instant, described as such in the OpenAPI document."""
    return InstantText(required=True, metadata={"type": "string", "format": "date-time"}, **options)


class InstantQuery(fields.Field[instants.Instant]):
    """An instant in a query: ISO 8601, UTC if it has no zone, years 1970 to 2100."""

    def _deserialize(
        self, value: typing.Any, attr: str | None, data: typing.Any, **kwargs: typing.Any
    ) -> instants.Instant:
        try:
            instant = instants.from_text(str(value).strip())
        except (ValueError, OverflowError) as error:
            raise ValidationError("must be an ISO 8601 date and time; in a URL a + is written %2B") from error
        if not EARLIEST <= instant <= LATEST:
            raise ValidationError("the year must be 1970 to 2100")
        return instant


class PageQuery(WireSchema):
    """Which page of a list. page x pageSize is at most 10,000."""

    page = fields.Integer(load_default=1, validate=Range(1, PAGES_MAX))
    pageSize = fields.Integer(load_default=20, validate=Range(1, 100))


class Page(WireSchema):
    """One page of a list; a domain adds its `items`."""

    total = fields.Integer(required=True)
    page = fields.Integer(required=True)
    pageSize = fields.Integer(required=True)
