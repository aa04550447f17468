"""The tables of the cluster: which worker owns the twin, and which workers there are. An EGO that is no cluster writes none of them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Integer, LargeBinary, Text
from sqlalchemy.orm import Mapped, mapped_column

from mirror_stage.storage.db import Base


class OwnerRow(Base):
    """The one row that says who owns the twin. Each owner has a generation of its own, one above the last."""

    __tablename__ = "cluster_owner"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)  # always 1
    generation: Mapped[int] = mapped_column(BigInteger)
    worker: Mapped[str | None] = mapped_column(Text)  # NULL: the last owner has stopped
    since: Mapped[int] = mapped_column(BigInteger)


class FrameRow(Base):
    """The newest whole frame of the owner, while some worker cannot read the stream. One row."""

    __tablename__ = "cluster_frame"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)  # always 1
    generation: Mapped[int] = mapped_column(BigInteger)
    epoch: Mapped[str] = mapped_column(Text)
    revision: Mapped[int] = mapped_column(BigInteger)
    body: Mapped[bytes] = mapped_column(LargeBinary)  # msgpack


class WorkerRow(Base):
    """A worker. `seen_at` is by the clock of the database, so that the clocks of the machines do not matter."""

    __tablename__ = "cluster_workers"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    machine: Mapped[str] = mapped_column(Text)
    pid: Mapped[int] = mapped_column(Integer)
    version: Mapped[str] = mapped_column(Text)
    started_at: Mapped[int] = mapped_column(BigInteger)
    seen_at: Mapped[int] = mapped_column(BigInteger)
    is_linked: Mapped[bool] = mapped_column(Boolean)  # it reads and writes the stream
    missed_since: Mapped[int | None] = mapped_column(BigInteger)  # since when samples of it are not in the stream
