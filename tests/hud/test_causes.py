"""A switch takes its rack down: one incident that names it, rows that say why, on a desktop and on a phone."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.builders import make_sample
from tests.hud.browser import PHONE, axe_violations, needs_browser, needs_hud, opened
from tests.servers import running_ego, wait_until

pytestmark = [needs_browser, needs_hud]
HASTY = {"MIRROR_STAGE_STALE_AFTER_SECONDS": "2", "MIRROR_STAGE_OFFLINE_AFTER_SECONDS": "4"}
BELOW = {"uplink": "sw-r1"}


@pytest.mark.timeout(300)
def test_the_rows_of_a_dead_rack_say_because_of_what(browser: Browser, tmp_path: Path) -> None:
    with running_ego(tmp_path, HASTY) as ego:
        well = [f"web-{number}" for number in range(4)]
        dead = [make_sample(f"db-{number}", rack="R1", tags=BELOW, interval_seconds=1) for number in range(3)]
        assert ego.post_samples(make_sample("sw-r1", rack="R1", interval_seconds=1), *dead).status_code == 202

        def decided() -> bool:
            ego.post_samples(*(make_sample(name, rack="R2", interval_seconds=1) for name in well))
            time.sleep(0.5)
            causes = [one["cause"] and one["cause"]["name"] for one in ego.get("/api/alerts/active").json()]
            return causes == ["sw-r1"] * 4

        wait_until(decided, 90)
        with opened(browser, f"{ego.url}/?probe=1#/alerts") as page:
            incident = page.locator("[data-incident]", has_text="sw-r1").first
            expect(incident).to_contain_text("3 behind it")
            incident.get_by_role("button", name=re.compile("^Show the hosts")).click()
            expect(incident.get_by_text("because of sw-r1")).to_have_count(3)
            assert axe_violations(page) == []
        with opened(browser, f"{ego.url}/?probe=1#/alerts", viewport=PHONE, has_touch=True, locale="ko-KR") as page:
            incident = page.locator("[data-incident]", has_text="sw-r1").first
            incident.get_by_role("button", name=re.compile("호스트 보기")).click()
            expect(incident.get_by_text("원인: sw-r1")).to_have_count(3)
            assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
