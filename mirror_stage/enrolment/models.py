"""The tables of enrolment: the agents, and the codes with which hosts enrol. Instants in ms since 1970 UTC by EGO's clock."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from mirror_stage.storage.db import Base


class Agent(Base):
    """The agent of one host. Its tokens are rows of `credentials`; `generation` is that of the newest one, 0 without any."""

    __tablename__ = "agents"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    hostname: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    key_sha256: Mapped[str | None] = mapped_column(Text)
    address: Mapped[str | None] = mapped_column(Text)
    instance: Mapped[str | None] = mapped_column(Text)
    labels: Mapped[str] = mapped_column(Text)  # JSON
    generation: Mapped[int] = mapped_column(BigInteger)
    code: Mapped[str | None] = mapped_column(Text)  # the id of the code with which it has enrolled
    created_at: Mapped[int] = mapped_column(BigInteger)
    asked_at: Mapped[int] = mapped_column(BigInteger)  # when the host has last asked to be enrolled
    changed_at: Mapped[int] = mapped_column(BigInteger)
    enrolled_at: Mapped[int | None] = mapped_column(BigInteger)
    enrolled_by: Mapped[str | None] = mapped_column(Text)
    ended_at: Mapped[int | None] = mapped_column(BigInteger)  # when it was refused or revoked
    takes_commands: Mapped[bool] = mapped_column(Boolean)

    __table_args__ = (
        Index("agents_of_host", "hostname"),
        Index(
            "agents_enrolled",
            "hostname",
            unique=True,
            sqlite_where=text("state IN ('enrolled', 'suspended')"),
            postgresql_where=text("state IN ('enrolled', 'suspended')"),
        ),
        Index("agents_by_state", "state"),
        Index("agents_by_change", "changed_at", "id"),
        Index("agents_by_end", "ended_at"),
    )


class EnrolCode(Base):
    """A code with which hosts enrol. One that was ended has the instant of its end in `expires_at`."""

    __tablename__ = "enrol_codes"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    sha256: Mapped[str] = mapped_column(Text)
    uses_left: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[int] = mapped_column(BigInteger)
    host_pattern: Mapped[str] = mapped_column(Text)
    labels: Mapped[str] = mapped_column(Text)  # JSON
    created_at: Mapped[int] = mapped_column(BigInteger)
    created_by: Mapped[str] = mapped_column(Text)

    __table_args__ = (Index("enrol_codes_by_end", "expires_at"),)
