"""The rules of alerts in the HUD: what a rule would say stands beside it, and nobody overwrites what another one has changed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.builders import make_sample
from tests.hud.browser import PHONE, axe_violations, needs_browser, needs_hud, opened
from tests.hud.conftest import PATIENT, post_fleet
from tests.servers import EgoServer, running_ego, wait_until

pytestmark = [needs_browser, needs_hud]
Open = Callable[..., AbstractContextManager[Page]]
RULES = "/api/alert-rules"


@pytest.fixture(scope="module")
def ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """The small fleet, and a file with one rule. `web-02` was hot from 30 to 25 minutes ago."""
    folder = tmp_path_factory.mktemp("rules")
    file = folder / "rules.toml"
    file.write_text(
        '[rules.of_file]\nmeasure = "loadAverage"\nsteps = [{severity = "info", fire = 50, resolve = 40}]\n'
    )
    with running_ego(folder, PATIENT | {"MIRROR_STAGE_ALERT_RULES": str(file)}) as server:
        now = datetime.now(UTC)
        ages = range(2_400, 20, -10)
        server.post_samples(
            *[
                make_sample(
                    "web-02",
                    at=(now - timedelta(seconds=age)).isoformat(),
                    cpu_percent=95 if 1_500 < age <= 1_800 else 12,
                )
                for age in ages
            ]
        )
        post_fleet(server)
        disk = {"mountpoint": "/", "total_bytes": 2**40, "used_bytes": 2**39, "used_percent": 50}
        server.post_samples(make_sample("db-01", cpu_percent=10, disks=[disk]))
        yield server


@pytest.fixture
def hud(browser: Browser, ego: EgoServer) -> Open:
    """Open the tab of rules; a preview of what is half typed may be refused."""

    def open_at(place: str = "#/alerts/rules", **context: object) -> AbstractContextManager[Page]:
        return opened(browser, f"{ego.url}/?probe=1{place}", **({"locked": True} | context))

    return open_at


def rule_of(ego: EgoServer, name: str) -> dict[str, Any]:
    rule: dict[str, Any] = ego.get(f"{RULES}/{name}").json()
    return rule


def row(page: Page, text: str) -> Locator:
    return page.get_by_role("region", name="Rules").get_by_role("listitem").filter(has_text=text)


def test_a_rule_is_written_beside_what_it_would_say(hud: Open, ego: EgoServer) -> None:
    with hud("#/alerts") as page:
        page.get_by_role("tab", name="Now").focus()
        page.keyboard.press("ArrowRight")
        expect(page).to_have_url(re.compile("#/alerts/rules"))
        page.get_by_role("button", name="New rule").press("Enter")
        expect(page.get_by_role("heading", name="New rule")).to_be_focused()
        form = page.get_by_role("form", name="New rule")
        form.get_by_label("Name").fill("own_cpu")
        form.get_by_label("Hosts:").fill("host:hot-01,web-0*")
        now = form.get_by_role("group", name="Would fire")
        expect(now).to_contain_text("Would fire now: 1 host")
        expect(now).to_contain_text("hot-01")
        expect(form.get_by_label("Hosts: 10 hosts")).to_be_visible()

        line = form.get_by_role("slider", name="Warning: fires at")
        line.press("ArrowDown")
        expect(form.get_by_label("Fires at (%)")).to_have_value("79")
        box = line.bounding_box()
        assert box
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 400)
        page.mouse.up()
        expect(form.get_by_label("Fires at (%)")).to_have_value("0")
        expect(now).to_contain_text("Would fire now: 10 hosts")
        form.get_by_label("Fires at (%)").fill("95")

        form.get_by_label("Fires after").fill("soon")
        expect(form.get_by_label("Fires after")).to_have_attribute("aria-invalid", "true")
        expect(form).to_contain_text("must be a time such as 90s")
        form.get_by_label("Fires after").fill("2m")
        form.get_by_role("button", name="Add an exception").click()
        exception = form.get_by_role("group", name="Exception 1")
        exception.get_by_label("Exception 1: Hosts").fill("host:hot-*")
        exception.get_by_label("Fires after").fill("1h")
        form.get_by_label("Which values count for the host").fill("hot-01")
        form.get_by_role("button", name="Why?").click()
        expect(form).to_contain_text("hot-01 has the values of the exception host:hot-*")
        assert axe_violations(page) == []

        page.get_by_role("tab", name="Silences").click()
        page.get_by_role("tab", name=re.compile("^Rules.*not saved")).click()
        expect(form.get_by_label("Name")).to_have_value("own_cpu")
        form.get_by_role("button", name="Save").press("Enter")
        expect(row(page, "own_cpu")).to_contain_text("≥ 95% → 0%")
        expect(page.get_by_role("button", name="Edit own_cpu")).to_be_focused()
    rule = rule_of(ego, "own_cpu")
    assert (rule["for"], rule["overrides"]) == ("2m", [{"where": "host:hot-*", "for": "1h"}])


def test_a_draft_says_what_it_would_have_said_and_a_mark_leads_to_its_moment(hud: Open, ego: EgoServer) -> None:
    draft = {
        "measure": "cpuLoad",
        "where": "host:web-02",
        "steps": [{"severity": "warning", "fire": 80, "resolve": 70}],
    }
    wait_until(lambda: ego.post(f"{RULES}/backtest?days=7", json=draft).json()["total"], 60)
    with hud() as page:
        page.get_by_role("button", name="New rule").click()
        form = page.get_by_role("form", name="New rule")
        form.get_by_label("Hosts:").fill("host:web-02")
        form.get_by_role("button", name="What would it have said?").press("Enter")
        told = form.get_by_role("region", name="What would it have said?").first
        waits = told.get_by_role("table", name="The same rule")
        expect(waits.get_by_role("row", name=re.compile("^at once 1 0 1"))).to_be_visible()
        expect(waits.get_by_role("row", name=re.compile("^10 min 0 0 0"))).to_be_visible()
        expect(told).to_contain_text(re.compile(r"Hosts\s*1 of 1\s*Notifications\s*2"))
        assert axe_violations(page) == []

        waits.get_by_role("button", name="3 min").press("Enter")
        expect(form.get_by_label("Fires after")).to_have_value("3m")
        expect(told).to_contain_text("The rule has changed since then.")
        told.get_by_role("button", name="Look again").click()
        expect(told).not_to_contain_text("The rule has changed")
        told.get_by_role("listitem").filter(has_text="web-02").get_by_role("link").press("Enter")
        expect(page).to_have_url(re.compile("#/host/web-02.*at=20"))
        page.go_back()
        expect(told).to_contain_text("web-02")
        form.get_by_label("Metric").select_option("sensorCelsius")
        told.get_by_role("button", name="Look again").click()
        expect(told.get_by_role("alert")).to_contain_text("The history does not keep this metric")


def test_what_another_person_has_changed_is_not_overwritten(hud: Open, ego: EgoServer) -> None:
    made = {"name": "shared", "measure": "cpuLoad", "steps": [{"severity": "warning", "fire": 90, "resolve": 80}]}
    assert ego.post(RULES, json=made).status_code == 201
    with hud("#/alerts/rules?rule=shared") as page:
        form = page.get_by_role("form", name="Edit shared")
        form.get_by_label("Fires after").fill("5m")
        changed = rule_of(ego, "shared") | {"for": "1m", "where": "rack:R1"}
        assert requests.put(f"{ego.url}{RULES}/shared", json=changed, timeout=10).ok
        form.get_by_role("button", name="Save").click()
        theirs = form.get_by_role("group", name="has changed this rule meanwhile")
        expect(theirs).to_be_focused()
        expect(theirs.get_by_role("radio", name="theirs: rack:R1")).to_be_checked()
        expect(theirs.get_by_role("radio", name="mine: 5m")).to_be_checked()
        form.get_by_role("button", name="Save").click()
        expect(row(page, "shared")).to_contain_text("rack:R1")
        assert (rule_of(ego, "shared")["for"], rule_of(ego, "shared")["where"]) == ("5m", "rack:R1")

        page.get_by_role("button", name="Edit shared").click()
        form.get_by_label("Fires after").fill("7m")
        asked: list[str] = []
        page.once("dialog", lambda one: (asked.append(one.message), one.dismiss()))
        page.keyboard.press("Escape")
        expect(form.get_by_label("Fires after")).to_have_value("7m")
        page.once("dialog", lambda one: (asked.append(one.message), one.accept()))
        form.get_by_role("button", name="Delete").press("Enter")
        expect(row(page, "shared")).to_have_count(0)
        expect(row(page, "own_cpu")).to_have_count(1)
        assert [text.split("?")[0] for text in asked] == [
            "shared has changes that are not saved. Discard them", "Delete the rule shared",
        ]  # fmt: skip
    assert ego.get(f"{RULES}/shared").status_code == 404


def test_a_rule_of_the_file_is_copied_on_a_phone_in_korean(hud: Open, ego: EgoServer) -> None:
    with hud(viewport=PHONE, has_touch=True, locale="ko-KR") as page:
        row_of_file = page.get_by_role("listitem").filter(has_text="of_file")
        expect(row_of_file).to_contain_text("파일")
        expect(row_of_file.get_by_role("button", name="편집")).to_have_count(0)
        row_of_file.get_by_role("button", name="of_file 규칙을 내 규칙으로 복사").tap()
        form = page.get_by_role("form", name="새 규칙")
        expect(form.get_by_label("이름")).to_have_value("of_file_copy")
        expect(form).to_contain_text("지금 발생할 곳이 없습니다")
        assert page.evaluate("document.querySelector('.page').scrollWidth") <= PHONE["width"]
        form.get_by_role("button", name="과거에 적용해 보기").tap()
        expect(form).to_contain_text("어디에서도 발생하지 않았을 것입니다")
        assert page.evaluate("document.querySelector('.page').scrollWidth") <= PHONE["width"]
        assert axe_violations(page) == []
        form.get_by_role("button", name="저장").tap()
        expect(page.get_by_role("listitem").filter(has_text="of_file_copy")).to_contain_text("직접 만듦")
    assert rule_of(ego, "of_file_copy")["source"] == "hud"


def test_who_may_not_change_rules_sees_them_and_is_told_so(browser: Browser, ego: EgoServer) -> None:
    def without_manage(route: Route) -> None:
        me = route.fetch().json()
        me["permissions"] = ["view"]
        route.fulfill(body=json.dumps(me), content_type="application/json")

    with opened(browser, f"{ego.url}/?probe=1#/alerts") as page:
        page.route("**/api/me", without_manage)
        page.reload()
        page.get_by_role("tab", name="Rules").click()
        expect(page.get_by_role("region", name="Rules")).to_contain_text("Only an admin changes rules.")
        expect(row(page, "cpu_load_high")).to_contain_text("≥ 80% → 70%")
        expect(page.get_by_role("button", name="New rule")).to_have_count(0)
        page.get_by_role("tab", name="Settings").click()
        expect(page.get_by_role("region", name="Channels")).to_contain_text("may change nothing here")


def test_an_alert_has_the_line_of_its_metric_and_a_disk_says_when_it_is_full(hud: Open) -> None:
    disks = {"mountpoint": "/", "usedBytes": 1, "usableBytes": 2, "isKnown": True, "isSteady": True}
    days = {"earliestDays": 2.1, "likelyDays": 3.0, "latestDays": 5.5}
    with hud("#/alerts") as page:
        busy = {"minute": "x", "items": [{"name": "java", "cpuPercent": 312.4}, {"name": "sshd", "cpuPercent": 0.6}]}
        page.route("**/api/history/processes?*", lambda route: route.fulfill(json=busy))
        row = page.locator("li[data-alert]").filter(has_text="hot-01")
        expect(row.get_by_role("img", name="Last 30 minutes: 97% to 97%")).to_be_visible()
        expect(row).to_contain_text("busiest then: java 312%, sshd 1%")
        answer = {"hostname": "db-01", "items": [disks | days], "total": 1}
        page.route("**/api/hosts/db-01/disks", lambda route: route.fulfill(json=answer))
        page.goto(re.sub("#.*", "#/host/db-01", page.url))
        expect(page.get_by_role("article")).to_contain_text("full in 3.0 d (2.1 d – 5.5 d)")
