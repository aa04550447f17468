"""The processes of a host in a real browser: which one, and since when."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain

import pytest
from playwright.sync_api import Browser, expect

from tests.builders import make_sample
from tests.hud.browser import PHONE, axe_violations, needs_browser, needs_hud, opened
from tests.hud.conftest import PATIENT
from tests.servers import EgoServer, running_ego, wait_until

pytestmark = [needs_browser, needs_hud]
BUSY_MINUTES = 40
PROCESSES = {
    "postgres": ("postgres", 20.0, 31.5),
    "backup": ("root", 95.0, 2.5),
    "node_exporter": ("prometheus", 0.4, 0.3),
}


def processes_before(minutes: int) -> list[list[object]]:
    """What EGO would have noted so many minutes ago."""
    return [
        [name, user, cpu + minutes * 7 % 5, memory, 1]
        for name, (user, cpu, memory) in PROCESSES.items()
        if name != "backup" or minutes <= BUSY_MINUTES
    ]


@pytest.fixture(scope="module")
def ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """`db-01`, whose `backup` has been busy for 40 of the 120 minutes of which EGO has noted the processes."""
    with running_ego(tmp_path_factory.mktemp("processes"), PATIENT) as ego:
        now = [
            {"pid": 400 + n, "name": name, "username": user, "cpu_percent": cpu, "memory_percent": memory}
            for n, (name, (user, cpu, memory)) in enumerate(PROCESSES.items())
        ]
        assert ego.post_samples(make_sample("db-01", rack="R1", top_processes=now)).status_code == 202
        wait_until(lambda: ego.get("/api/history/processes", params={"hostname": "db-01"}).json()["total"] == 3, 30)
        minute = int(time.time()) // 60 * 60
        ((host_id,),) = ego.rows("SELECT id FROM host_metrics WHERE hostname = 'db-01'")
        before = [(host_id, minute - 60 * age, json.dumps(processes_before(age))) for age in range(1, 120)]
        told = ", ".join(["(?, ?, ?)"] * len(before))
        ego.rows(f"INSERT INTO process_minutes VALUES {told} ON CONFLICT DO NOTHING", *chain.from_iterable(before))
        yield ego


def test_the_culprit_and_since_when_stand_on_the_page_of_the_host_and_lead_to_that_moment(
    browser: Browser, ego: EgoServer
) -> None:
    with opened(browser, f"{ego.url}/#/host/db-01") as page:
        part = page.locator("[data-processes]")
        culprit = part.get_by_role("row").filter(has_text="backup")
        expect(culprit.locator("path.course")).to_have_attribute("d", re.compile("M.*L"))
        expect(part.get_by_role("row").nth(1)).to_contain_text("backup")
        expect(culprit).to_contain_text(re.compile(r"since \d\d:\d\d"))
        expect(part.get_by_role("row").filter(has_text="postgres")).to_contain_text("at least since")
        assert axe_violations(page) == []
        culprit.locator(".since button").click()
        expect(page).to_have_url(re.compile("at="))


def test_the_history_of_a_host_shows_the_processes_of_the_moment_on_the_phone_in_korean(
    browser: Browser, ego: EgoServer
) -> None:
    with opened(browser, f"{ego.url}/#/history?sel=db-01", viewport=PHONE, locale="ko-KR") as page:
        part = page.locator("[data-processes]")
        expect(part).to_contain_text(re.compile(r"\d\d:\d\d부터"))
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        then = datetime.now(UTC) - timedelta(minutes=BUSY_MINUTES + 20)
        page.goto(f"{ego.url}/#/history?sel=db-01&at={then.isoformat(timespec='seconds').replace('+00:00', 'Z')}")
        expect(part.get_by_role("row")).to_have_count(3)
        expect(part).not_to_contain_text("backup")
