"""The browser's heap does not grow while a HUD shows 1,000 hosts that come and go for half an hour."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import requests
from playwright.sync_api import CDPSession, Page

from tests.builders import make_sample
from tests.faults import print_figures
from tests.fleet import simulated_fleet
from tests.hud.browser import launched, needs_browser, needs_hud, opened
from tests.servers import EgoServer, running_ego, wait_until

pytestmark = [needs_browser, needs_hud]
HOSTS, CHURN, MINUTES = 1000, 20, 30
FULL_MINUTES = 16  # the page keeps fifteen minutes of every host in memory


@pytest.mark.long
@pytest.mark.timeout(45 * 60)
def test_the_heap_of_a_hud_that_stays_open_does_not_grow(tmp_path: Path) -> None:
    """Motion is reduced: without a GPU, constant drawing would leave no time for the data."""
    with (
        running_ego(tmp_path) as ego,
        simulated_fleet(ego, hosts=HOSTS, interval=5, commands=False),
        launched() as browser,
    ):
        wait_until(lambda: ego.get("/api/hosts?status=online").json()["total"] >= HOSTS, 60, what="the fleet")
        with opened(browser, f"{ego.url}/?probe=1#/", reduced_motion="reduce") as page:
            megabytes, memory = watched(page, ego)
    print_figures("heap", megabytes=megabytes, memory=memory[-1])
    full = megabytes[FULL_MINUTES:]
    assert max(full) <= 1.1 * full[0]
    assert memory[-1] == memory[FULL_MINUTES]  # geometries and textures of three.js on the graphics card


def watched(page: Page, ego: EgoServer) -> tuple[list[float], list[dict[str, int]]]:
    """The heap in MB and three.js's counts at each minute, while hosts come and go."""
    session = page.context.new_cdp_session(page)
    megabytes, memory = [heap_megabytes(session)], [counts(page)]
    for minute in range(MINUTES):
        passing = [f"passing-{minute}-{number}" for number in range(CHURN)]
        assert ego.post_samples(*map(make_sample, passing)).status_code == 202
        page.wait_for_timeout(30_000)
        for hostname in passing:
            assert requests.delete(f"{ego.url}/api/hosts/{hostname}").status_code == 204
        page.wait_for_timeout(30_000)
        megabytes.append(heap_megabytes(session))
        memory.append(counts(page))
        print(f"minute {minute + 1}: {megabytes[-1]} MB, {memory[-1]}, {time.strftime('%H:%M:%S')}", flush=True)
    return megabytes, memory


def heap_megabytes(session: CDPSession) -> float:
    """The used heap after garbage collection, in MB."""
    session.send("HeapProfiler.collectGarbage")
    return round(session.send("Runtime.getHeapUsage")["usedSize"] / 1e6, 1)


def counts(page: Page) -> dict[str, int]:
    probe = page.evaluate("window.__ego.stage.probe()")
    return {"objects": len(probe["objectIds"]), "geometries": probe["geometries"], "textures": probe["textures"]}
