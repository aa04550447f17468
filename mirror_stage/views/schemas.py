"""Saved views on the wire."""

from __future__ import annotations

import unicodedata
from typing import Any

from marshmallow import ValidationError, fields
from marshmallow.validate import Length, Regexp

from mirror_stage.core.names import is_printable
from mirror_stage.web.schemas import Text, WireSchema, instant, nullable

NAME_MAX, ADDRESS_MAX = 60, 2_000


class ViewName(Text):
    """A name that can stand in a path: no slash, no invisible letters, no space at its ends."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        name = unicodedata.normalize("NFC", super()._deserialize(value, attr, data, **kwargs)).strip()
        if not 1 <= len(name) <= NAME_MAX:
            raise ValidationError(f"has 1 to {NAME_MAX} characters")
        if "/" in name or name in {".", ".."} or not is_printable(name):
            raise ValidationError("may have letters, digits, spaces and signs, but no slash and nothing invisible")
        return name


class ViewAddress(Text):
    """An address of the HUD from its `#` on. So it leads nowhere else."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        address = super()._deserialize(value, attr, data, **kwargs)
        if not is_printable(address):
            raise ValidationError("may have nothing invisible")
        return address


class ViewFields(WireSchema):
    """`name` renames the view that the path names."""

    address = ViewAddress(
        required=True,
        validate=[Length(max=ADDRESS_MAX), Regexp("^#/", error="must be an address of the HUD that begins with #/")],
    )
    name = ViewName()


class ViewSchema(WireSchema):
    name = fields.String(required=True)
    address = fields.String(required=True)
    by = nullable(fields.String, metadata={"description": "who saved it last; null: EGO did not know who asked"})
    at = instant()


class ViewList(WireSchema):
    items = fields.List(fields.Nested(ViewSchema), required=True)
    total = fields.Integer(required=True)
