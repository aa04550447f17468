"""The commands' tables: the commands, a row for each of their transitions, and the output of those that run."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Double, ForeignKey, Index, Integer, Text
from sqlalchemy.orm import Mapped, mapped_column

from mirror_stage.storage.db import Base

_SEQ = BigInteger().with_variant(Integer, "sqlite")  # SQLite gives numbers to INTEGER keys only


class CommandRow(Base):
    """One command. `seq` is the order of creation. Instants in ms since 1970 UTC by EGO's clock."""

    __tablename__ = "commands"

    seq: Mapped[int] = mapped_column(_SEQ, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(Text, unique=True)
    hostname: Mapped[str] = mapped_column(Text)
    timeout_seconds: Mapped[float] = mapped_column(Double)
    status: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    is_closed: Mapped[bool] = mapped_column(Boolean)  # lost, and a late result is refused
    requested_at: Mapped[int] = mapped_column(BigInteger)
    started_at: Mapped[int | None] = mapped_column(BigInteger)  # when it was handed out
    start_reported_at: Mapped[int | None] = mapped_column(BigInteger)  # when its agent first said that it runs
    completed_at: Mapped[int | None] = mapped_column(BigInteger)
    expires_at: Mapped[int] = mapped_column(BigInteger)
    lease_until: Mapped[int | None] = mapped_column(BigInteger)
    claimed_by: Mapped[str | None] = mapped_column(Text)  # the agent's instance, if that keeps a journal
    exit_code: Mapped[int | None] = mapped_column(BigInteger)
    signal: Mapped[str | None] = mapped_column(Text)  # what has killed the process
    stdout_bytes: Mapped[int | None] = mapped_column(BigInteger)
    stderr_bytes: Mapped[int | None] = mapped_column(BigInteger)
    truncated: Mapped[bool] = mapped_column(Boolean)
    late: Mapped[bool] = mapped_column(Boolean)
    duration_seconds: Mapped[float | None] = mapped_column(Double)
    cancel_requested: Mapped[bool] = mapped_column(Boolean)
    requested_by: Mapped[str | None] = mapped_column(Text)
    retry_of: Mapped[str | None] = mapped_column(Text)
    version: Mapped[int] = mapped_column(Integer)
    updated_at: Mapped[int] = mapped_column(BigInteger)
    result_digest: Mapped[str | None] = mapped_column(Text)
    request_digest: Mapped[str] = mapped_column(Text)
    idempotency_key: Mapped[str | None] = mapped_column(Text, unique=True)  # a digest of the actor and the key
    output_seq: Mapped[int] = mapped_column(BigInteger)  # newest chunk of live output; -1: none
    output_bytes: Mapped[int] = mapped_column(BigInteger)
    command: Mapped[str] = mapped_column(Text)
    command_folded: Mapped[str] = mapped_column(Text)  # for the search: SQLite folds ASCII only
    metadata_json: Mapped[str | None] = mapped_column("metadata", Text)
    signed: Mapped[str | None] = mapped_column(Text)  # the command as EGO signed it when it was created: JSON
    signed_cancel: Mapped[str | None] = mapped_column(Text)
    stdout: Mapped[str | None] = mapped_column(Text)  # long columns stand last: SQLite reads a row from its front
    stderr: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        Index("commands_queue", "hostname", "status", "seq"),
        Index("commands_of_host", "hostname", "seq"),
        Index("commands_by_status", "status", "seq"),
        Index("commands_leases", "lease_until"),
        {"sqlite_autoincrement": True},
    )


class CommandEvent(Base):
    """One transition of a command: when, by whom, to what. The audit and the record of versions."""

    __tablename__ = "command_events"

    command_seq: Mapped[int] = mapped_column(ForeignKey("commands.seq"), primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    actor: Mapped[str | None] = mapped_column(Text)
    peer: Mapped[str | None] = mapped_column(Text)
    note: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index("command_events_by_time", "at", "name", "status"), {"sqlite_with_rowid": False})


class CommandOutput(Base):
    """One chunk of what a running command has printed. `end_byte` counts all of its command's chunks so far."""

    __tablename__ = "command_outputs"

    command_seq: Mapped[int] = mapped_column(ForeignKey("commands.seq"), primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    stream: Mapped[str] = mapped_column(Text)
    chunk: Mapped[str] = mapped_column(Text)
    end_byte: Mapped[int] = mapped_column(BigInteger)
