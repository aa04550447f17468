"""T24: hostile questions to a large history of commands are answered or refused, soon, and a search is literal.

The short form has 5,000 commands, the long form 200,000.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, event

from mirror_stage.access.domain import ADMIN, USER, Actor
from mirror_stage.commands import store
from mirror_stage.core.config import Config
from mirror_stage.storage.db import engine_options
from tests.servers import EgoServer, running_ego

FEW, MANY = 5_000, 200_000
ASKED = 50  # of each kind, for the 99th percentile
READER = Actor(USER, "ada", role=ADMIN)
INTEGERS = (
    "0",
    "-1",
    "10001",
    "1000000",
    "1000000000",
    "9" * 40,
    "1e3",
    "1.5",
    "NaN",
    "0x10",
    "",
    " ",
    "%00",
    "1;DROP",
)
SEARCHES = {  # a search, and how many of every thousand commands have it
    "%": 1,
    "_": 1,
    "\\": 1,
    "%%": 0,
    "100%": 1,
    "1_0": 0,
    "' OR '1'='1": 0,
    "'; DROP TABLE commands; --": 0,
    '" UNION SELECT sha256 FROM credentials --': 0,
    "*": 0,
    "[a-z]": 0,
    "(a+)+$": 0,
    "/**/": 0,
    "{{7*7}}": 0,
    "\u202e": 0,
    "echo": 997,
    "ECHO": 997,
    "%" * 1_200: 0,
    "_%\\" * 500: 0,
}
FILL = """
INSERT INTO commands (
    seq, id, hostname, timeout_seconds, status, is_closed, requested_at, expires_at, truncated, late, cancel_requested,
    version, updated_at, request_digest, output_seq, output_bytes, command, command_folded
)
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)
SELECT n, 'id-' || n, 'web-' || (n - n / 50 * 50), 30, CASE n - n / 7 * 7 WHEN 0 THEN 'failed' ELSE 'succeeded' END, false,
    1762000000000 + n, 1762000060000 + n, false, false, false, 3, 1762000000000 + n, '-', -1, 0, text, text
FROM (SELECT n, CASE n - n / 1000 * 1000 WHEN 1 THEN ? WHEN 2 THEN ? WHEN 3 THEN ? ELSE 'echo ' || n END AS text
    FROM numbers) AS made
"""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((kind, rows), marks=[pytest.mark.long] if rows == MANY else [], id=f"{kind}-{rows}")
        for rows in (FEW, MANY)
        for kind in ("sqlite", "postgresql")
    ],
)
def ego(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """An EGO with many commands of the past."""
    kind, rows = request.param
    settings = {}
    if kind == "postgresql":
        settings["MIRROR_STAGE_DB_URL"] = request.getfixturevalue("postgresql").new_database()
    with running_ego(tmp_path_factory.mktemp("large"), settings) as server:
        server.rows(FILL, rows, "df 100%", "cat a_b", "dir c:\\")
        server.rows("ANALYZE")
        yield server


def asked(ego: EgoServer, **query: str) -> Any:
    return ego.get("/api/commands", params=query)


def commands(ego: EgoServer) -> int:
    return int(ego.rows("SELECT count(*) FROM commands")[0][0])


def test_a_page_that_nobody_can_mean_is_refused(ego: EgoServer) -> None:
    for name in ("page", "pageSize"):
        for text in INTEGERS:
            answer = asked(ego, **{name: text})
            assert answer.status_code == 400, (name, text, answer.text[:200])
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert [error["field"] for error in answer.json()["errors"]] == [name]
    assert asked(ego, page="101", pageSize="100").status_code == 400
    assert len(asked(ego, page="50", pageSize="100").json()["items"]) == 100


@pytest.mark.parametrize("search", SEARCHES, ids=lambda text: repr(text[:24]))
def test_a_search_finds_what_it_says_and_nothing_else(ego: EgoServer, search: str) -> None:
    answer = asked(ego, search=search)
    assert answer.status_code == 200, answer.text[:300]
    assert answer.json()["total"] == commands(ego) // 1000 * SEARCHES[search]


@pytest.mark.parametrize("search", ["x" * 10_000, "%" * 10_000, "가" * 10_000], ids=["x", "per cents", "Korean"])
def test_a_search_that_no_request_line_has_room_for_is_refused(ego: EgoServer, search: str) -> None:
    answer = asked(ego, search=search)
    assert (answer.status_code, "too large" in answer.json()["detail"]) == (414, True)


@pytest.mark.parametrize("name", ["hostname", "status", "search", "page", "pageSize", "sort", "id"])
def test_sql_in_a_query_changes_nothing(ego: EgoServer, name: str) -> None:
    before = commands(ego)
    for text in (
        "web-1'; DELETE FROM commands; --",
        'web-1" OR 1=1',
        "web-1) OR (1=1",
        "web-1' UNION SELECT * FROM audit --",
    ):
        answer = asked(ego, **{name: text})
        assert answer.status_code in {200, 400}
        if answer.status_code == 200 and name in {"hostname", "search"}:
            assert answer.json()["total"] == 0
    assert commands(ego) == before


def test_hosts_and_states_are_found_by_an_index(ego: EgoServer) -> None:
    url = ego.settings.get("MIRROR_STAGE_DB_URL")
    config = Config(db_url=url) if url else Config(sqlite_path=ego.folder / "ego.db")
    engine = create_engine(config.database_url, **engine_options(config))  # type: ignore[arg-type]
    plans: list[str] = []

    def explain(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        explained = "EXPLAIN" if url else "EXPLAIN QUERY PLAN"
        rows = connection.connection.driver_connection.execute(f"{explained} {statement}", parameters).fetchall()
        plans.append("\n".join(str(row[-1]) for row in rows))

    with engine.connect() as tx:
        event.listen(tx, "before_cursor_execute", explain)
        for filters in ({"hostname": "web-1"}, {"status": "pending"}, {"hostname": "web-1", "status": "failed"}):
            store.page(tx, filters, 0, 20, READER)
    engine.dispose()
    assert len(plans) == 6
    for plan in plans:
        assert "commands_" in plan, plan
        assert "Seq Scan" not in plan, plan
        assert "SCAN commands" not in plan, plan


@pytest.mark.long
def test_a_hostile_question_takes_no_longer_than_a_few_plain_ones(ego: EgoServer) -> None:
    """A plain search reads every command, too. So the ratio of the two says whether an odd text costs more than that."""
    plain = seconds(lambda: asked(ego, search="nothing has this"))
    kinds = {
        "far page": {"page": "500", "pageSize": "20"},
        "per cent": {"search": "%"},
        "long": {"search": "%_\\" * 400},
        "repeated": {"search": "echo " * 600},
    }
    worst = {name: seconds(lambda query=query: asked(ego, **query)) / plain for name, query in kinds.items()}  # type: ignore[misc]
    assert max(worst.values()) <= 4, worst


def seconds(ask: Callable[[], Any]) -> float:
    """How long all but one of a hundred answers take at most."""
    took = []
    for _ in range(ASKED):
        began = time.perf_counter()
        ask()
        took.append(time.perf_counter() - began)
    return statistics.quantiles(took, n=100)[98]
