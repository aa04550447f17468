"""The tables of who may ask: people, credentials, sessions, and the audit. Instants in ms since 1970 UTC by EGO's clock."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, Text
from sqlalchemy.orm import Mapped, mapped_column

from mirror_stage.storage.db import Base

_ID = BigInteger().with_variant(Integer, "sqlite")  # SQLite gives numbers to INTEGER keys only


class Principal(Base):
    """A person. Without a `password_hash` (argon2id) they sign in by link only."""

    __tablename__ = "principals"

    id: Mapped[int] = mapped_column(_ID, primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    role: Mapped[str] = mapped_column(Text)
    password_hash: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(BigInteger)
    disabled_at: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = ({"sqlite_autoincrement": True},)


class Credential(Base):
    """A token or a link. An agent's token has a hostname, a link has the person who signs in with it.

    The token of an enrolled agent has the `agent` and a `generation`; `replaced_by` is the generation that ended it.
    """

    __tablename__ = "credentials"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(Text)
    principal: Mapped[int | None] = mapped_column(ForeignKey("principals.id"))
    hostname: Mapped[str | None] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(BigInteger)
    created_by: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[int | None] = mapped_column(BigInteger)
    revoked_at: Mapped[int | None] = mapped_column(BigInteger)  # of a link: when it was used, too
    last_used_at: Mapped[int | None] = mapped_column(BigInteger)
    note: Mapped[str | None] = mapped_column(Text)
    agent: Mapped[str | None] = mapped_column(Text)
    generation: Mapped[int | None] = mapped_column(BigInteger)
    replaced_by: Mapped[int | None] = mapped_column(BigInteger)
    suspended_at: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (
        Index("credentials_by_age", "created_at"),
        Index("credentials_of_host", "hostname"),
        Index("credentials_revoked", "revoked_at"),
        Index("credentials_expired", "expires_at"),
    )


class Session(Base):
    """Somebody has signed in with a browser. `sha256` is of the cookie, `page_sha256` of the half that the page keeps."""

    __tablename__ = "sessions"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    sha256: Mapped[str] = mapped_column(Text)
    page_sha256: Mapped[str] = mapped_column(Text)
    principal: Mapped[int] = mapped_column(ForeignKey("principals.id"))
    created_at: Mapped[int] = mapped_column(BigInteger)
    last_seen_at: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[int] = mapped_column(BigInteger)  # a session that was ended has the instant of its end
    address: Mapped[str | None] = mapped_column(Text)
    user_agent: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index("sessions_by_end", "expires_at"), Index("sessions_of_principal", "principal"))


class Audit(Base):
    """One row of the audit: see `chain.py`."""

    __tablename__ = "audit"

    seq: Mapped[int] = mapped_column(_ID, primary_key=True, autoincrement=False)
    at: Mapped[int] = mapped_column(BigInteger)
    actor: Mapped[str] = mapped_column(Text)
    peer: Mapped[str | None] = mapped_column(Text)
    what: Mapped[str] = mapped_column(Text)
    subject: Mapped[str | None] = mapped_column(Text)
    detail: Mapped[str | None] = mapped_column(Text)
    previous: Mapped[str] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(Text)
