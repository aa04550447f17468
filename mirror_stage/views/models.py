"""The table of saved views."""

from __future__ import annotations

from sqlalchemy import BigInteger, Text
from sqlalchemy.orm import Mapped, mapped_column

from mirror_stage.storage.db import Base


class SavedView(Base):
    """A name for an address of the HUD, from its `#` on."""

    __tablename__ = "saved_views"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    address: Mapped[str] = mapped_column(Text)
    saved_by: Mapped[str | None] = mapped_column(Text)
    saved_at: Mapped[int] = mapped_column(BigInteger)
