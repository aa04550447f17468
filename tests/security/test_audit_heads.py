"""The signed heads of the audit: somebody who may write the database cannot write the chain anew without being found."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from mirror_stage.access.chain import Event, Head, Row, fault, linked
from mirror_stage.access.service import People
from mirror_stage.app import create_app
from mirror_stage.core.config import Config
from mirror_stage.signing.service import Signer
from mirror_stage.storage.db import Storage
from tests.command_line import forked
from tests.servers import ROOT


class Ego:
    """An EGO on a file, in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "ego.db"
        self.heads = folder / "ego.tls/audit.heads"
        self.app: Flask = create_app(Config(sqlite_path=self.file))

    def create(self, command: str) -> None:
        answer = self.app.test_client().post("/api/commands", json={"hostname": "titan-01", "command": command})
        assert answer.status_code == 201

    def sign(self) -> None:
        """What the job does each hour."""
        ego = self.app.extensions["mirror_stage"]
        ego[People].sign_head(ego[Signer].keep_head)

    def verify(self) -> tuple[int, dict[str, Any]]:
        environment = {"PATH": os.environ["PATH"], "MIRROR_STAGE_SQLITE_PATH": str(self.file), "PYTHONPATH": str(ROOT)}
        ended = forked(["audit", "verify", "--json"], cwd=self.folder, env=environment)
        return ended.returncode, json.loads(ended.stdout)

    def rows(self) -> list[Row]:
        with sqlite3.connect(self.file) as database:
            columns = ", ".join(field.name for field in fields(Row))
            return [Row(*row) for row in database.execute(f"SELECT {columns} FROM audit ORDER BY seq")]

    def write(self, rows: list[Row]) -> None:
        """Replace the whole audit by these rows."""
        with sqlite3.connect(self.file) as database:
            database.execute("DELETE FROM audit")
            columns = ", ".join(field.name for field in fields(Row))
            database.executemany(
                f"INSERT INTO audit ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", map(astuple, rows)
            )


@pytest.fixture
def ego(tmp_path: Path) -> Iterator[Ego]:
    ego = Ego(tmp_path)
    ego.create("reboot")
    ego.create("uptime")
    ego.sign()
    ego.create("df -h")
    yield ego
    ego.app.extensions["mirror_stage"][Storage].close()


def test_an_honest_audit_fits_its_signed_heads(ego: Ego) -> None:
    status, said = ego.verify()
    assert (status, said["isWhole"], said["rows"], said["signedHeads"]) == (0, True, 3, 1)
    ego.sign()
    ego.sign()
    assert len(ego.heads.read_text().splitlines()) == 2, "a head is signed once"
    assert ego.verify()[1]["signedHeads"] == 2


def test_a_chain_that_was_written_anew_as_a_whole_is_found(ego: Ego) -> None:
    anew, head = [], Head()
    for row in ego.rows():
        event = Event(row.what, row.subject, "nothing happened")
        anew.append(linked(head, row.at, row.actor, row.peer, event))
        head = Head(anew[-1].seq, anew[-1].hash)
    assert fault(Head(), anew) is None, "the chain by itself shows nothing"
    ego.write(anew)
    status, said = ego.verify()
    assert status == 1
    assert "row 2 is another one than EGO signed at" in said["fault"]


def test_newest_rows_that_are_gone_are_found(ego: Ego) -> None:
    rows = ego.rows()
    ego.write(rows[:1])
    status, said = ego.verify()
    assert status == 1
    assert "the rows after 1 are missing, and EGO signed row 2" in said["fault"]


@pytest.mark.parametrize(
    "change", [lambda line: line[:-9], lambda line: line.replace('"payload": "ey', '"payload": "fy'), lambda _: "{}"]
)
def test_a_head_that_was_changed_is_found(ego: Ego, change: Any) -> None:
    ego.heads.write_text(change(ego.heads.read_text().strip()) + "\n")
    status, said = ego.verify()
    assert status == 1
    assert "line 1 of" in said["fault"]


def test_without_heads_the_chain_is_checked_alone(ego: Ego) -> None:
    ego.heads.unlink()
    status, said = ego.verify()
    assert (status, said["signedHeads"]) == (0, 0)


def test_rows_that_were_pruned_are_not_missed(ego: Ego) -> None:
    ego.sign()
    rows = ego.rows()
    ego.write(rows[2:])
    with sqlite3.connect(ego.file) as database:
        database.execute("INSERT INTO ego_state VALUES ('audit_pruned', ?)", [json.dumps([2, rows[1].hash])])
    status, said = ego.verify()
    assert (status, said["isWhole"], said["signedHeads"]) == (0, True, 2)
