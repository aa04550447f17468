"""History, time travel and wall in a real browser. Tests of features that this EGO does not have are skipped."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

import pytest
from playwright.sync_api import Browser, FloatRect, Locator, Page, Route, expect

from mirror_stage.health.routes import FEATURES
from tests.builders import make_sample
from tests.hud.browser import PHONE, axe_violations, needs_browser, needs_hud, opened
from tests.hud.conftest import PATIENT, post_fleet
from tests.servers import EgoServer, running_ego, wait_until

pytestmark = [needs_browser, needs_hud]
needs_history = pytest.mark.skipif("history" not in FEATURES, reason="this EGO keeps no history")
needs_replay = pytest.mark.skipif("replay" not in FEATURES, reason="this EGO does not show the past")
Open = Callable[..., AbstractContextManager[Page]]


@pytest.fixture(scope="module")
def ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """The fleet, with ten minutes of history for `web-01` and `web-02`; `web-01` was silent for four of them."""
    with running_ego(tmp_path_factory.mktemp("time"), PATIENT | {"MIRROR_STAGE_STALE_AFTER_SECONDS": "200"}) as ego:
        post_fleet(ego)
        now = datetime.now(UTC)
        for host, cpu in (("web-01", 30), ("web-02", 60)):
            ages = [age for age in range(10, 600, 10) if host == "web-02" or not 200 < age < 440]
            past = [make_sample(host, at=(now - timedelta(seconds=age)).isoformat(), cpu_percent=cpu) for age in ages]
            assert ego.post_samples(*past).status_code == 202
        yield ego


@pytest.fixture
def hud(browser: Browser, ego: EgoServer) -> Open:
    """Open a place of the fleet's HUD: `with hud("#/history") as page`."""

    def open_at(place: str, **context: object) -> AbstractContextManager[Page]:
        return opened(browser, f"{ego.url}/?probe=1{place}", **context)

    return open_at


def chart(page: Page, metric: str) -> Locator:
    return page.locator(f"figure[data-metric={metric}]")


def shown_minutes(address: str) -> float:
    """The length of the range in an address of the history."""
    found = re.search(r"from=([^&]+)&to=([^&]+)", address)
    assert found is not None, address
    begin, end = (datetime.fromisoformat(unquote(text)) for text in found.groups())
    return (end - begin) / timedelta(minutes=1)


def plot_box(page: Page, metric: str) -> tuple[float, float, float, float]:
    """Left, top, width and height of the plot in a chart."""
    chart(page, metric).locator(".u-over").wait_for()
    box = chart(page, metric).locator(".u-over").bounding_box()
    assert box is not None
    return box["x"], box["y"], box["width"], box["height"]


def coloured(page: Page, metric: str) -> int:
    """The number of pixels in a chart that have a line's colour; 0 on a blank canvas."""
    return int(
        chart(page, metric)
        .locator("canvas")
        .evaluate(
            """canvas => {
                const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
                let count = 0;
                for (let at = 0; at < data.length; at += 4)
                    if (data[at + 3] > 200 && Math.max(data[at], data[at + 1], data[at + 2]) > 200
                        && Math.abs(data[at] - data[at + 2]) > 60) count++;
                return count;
            }"""
        )
    )


def without_history(route: Route) -> None:
    """Answer as an EGO that keeps neither history nor the past."""
    answer = route.fetch()
    told = answer.json()
    told["features"] = [name for name in told["features"] if name not in {"history", "replay"}]
    route.fulfill(response=answer, body=json.dumps(told))


def test_without_a_history_the_browser_draws_the_samples_in_its_memory(hud: Open) -> None:
    with hud("#/table") as page:
        page.route("**/api/info", without_history)
        page.reload()
        page.locator("[data-is-ready=true]").wait_for()
        page.keyboard.press("h")
        expect(page.get_by_text("from the memory of this browser")).to_be_visible()
        expect(page.get_by_role("button", name="7 d")).to_have_count(0)
        expect(chart(page, "cpuLoad").get_by_text("Mean")).to_be_visible()
        page.get_by_role("textbox", name="Add a host").or_(page.get_by_role("combobox", name="Add a host")).fill(
            "hot-01"
        )
        expect(chart(page, "cpuLoad").get_by_role("listitem")).to_contain_text(re.compile(r"hot-01\s*97%"))
        expect(page.get_by_role("figure").filter(has_text="Swap")).to_have_count(0)
        expect(page).to_have_url(re.compile("sel=hot-01"))


@needs_history
def test_an_hour_that_comes_twice_comes_back_from_the_fields_as_the_same_hour(hud: Open) -> None:
    second = "from=2026-11-01T06:15:00Z&to=2026-11-01T06:45:00Z"
    with hud(f"#/history?{second}", timezone_id="America/New_York") as page:
        custom = page.get_by_role("button", name="Custom")
        custom.click()
        expect(page.get_by_label("From")).to_have_value(re.compile("2026-11-01T01:15"))
        page.get_by_role("button", name="Show", exact=True).click()
        expect(page).to_have_url(re.compile(r"from=2026-11-01T06%3A15%3A00Z&to=2026-11-01T06%3A45%3A00Z"))
        custom.click()
        page.get_by_label("twice").first.select_option("01:15:00 EDT")
        page.get_by_role("button", name="Show", exact=True).click()
        expect(page).to_have_url(re.compile(r"from=2026-11-01T05%3A15%3A00Z&to=2026-11-01T06%3A45%3A00Z"))


@needs_history
def test_a_mean_says_how_many_hosts_it_stands_for_and_unknown_hosts_are_named(hud: Open) -> None:
    """Of the 24 hosts of the fleet the 21 web servers have a thermometer."""
    with hud("#/history?range=15m&rows=cpuLoad,cpuTemperature") as page:
        expect(chart(page, "cpuLoad").get_by_text("Mean of 24 of 24 hosts")).to_be_visible()
        expect(chart(page, "cpuTemperature").get_by_text("Mean of 21 of 24 hosts")).to_be_visible()
        expect(page.get_by_text("EGO has no history of")).to_have_count(0)
        page.evaluate("location.hash = '#/history?range=15m&rows=cpuLoad&sel=web-01,ghost-01'")
        expect(page.get_by_text("EGO has no history of ghost-01")).to_be_visible()
        expect(chart(page, "cpuLoad").get_by_role("listitem").get_by_text("web-01", exact=True)).to_be_visible()
        page.evaluate("location.hash = '#/history?range=15m&rows=cpuTemperature&lang=ko'")
        expect(chart(page, "cpuTemperature").get_by_text("24대 중 21대 평균")).to_be_visible()


@needs_history
def test_a_drag_zooms_in_a_double_click_zooms_out_and_the_address_has_the_range(hud: Open) -> None:
    with hud("#/history?range=15m&sel=web-02,web-01") as page:
        left, top, width, height = plot_box(page, "cpuLoad")
        expect(chart(page, "cpuLoad").get_by_role("listitem")).to_have_count(2)
        wait_until(lambda: page.evaluate("document.querySelectorAll('figure canvas').length") == 5)  # no disks
        assert coloured(page, "cpuLoad") > 500
        page.mouse.move(left + width * 0.45, top + height / 2)
        expect(chart(page, "memoryUsedPercent").get_by_text("web-02")).to_be_visible()
        page.mouse.down()
        page.mouse.move(left + width * 0.75, top + height / 2, steps=4)
        page.mouse.up()
        expect(page).to_have_url(re.compile(r"from=2\d{3}-.*to=2\d{3}-"))
        zoomed = page.url
        page.reload()
        plot_box(page, "cpuLoad")
        assert page.url == zoomed
        expect(page.get_by_role("button", name="15 min")).to_have_attribute("aria-pressed", "false")
        page.go_back()
        expect(page.get_by_role("button", name="15 min")).to_have_attribute("aria-pressed", "true")
        left, top, width, height = plot_box(page, "cpuLoad")
        page.mouse.dblclick(left + width / 2, top + height / 2)
        expect(page).to_have_url(re.compile(r"from=.*to="))
        assert shown_minutes(page.url) > 15


@needs_history
def test_a_gap_stays_a_gap_in_the_lines_the_table_and_the_file(hud: Open, tmp_path: Path) -> None:
    with hud("#/history?range=15m&sel=web-01&rows=cpuLoad") as page:
        rows = page.get_by_role("group", name=re.compile("^Charts over time"))
        rows.focus()
        values = set()
        for _ in range(12):
            rows.press("Shift+ArrowLeft")
            values.add(chart(page, "cpuLoad").locator("li b").first.inner_text())
        assert values >= {"30%", "–"}
        page.get_by_role("button", name="Show as table").click()
        table = page.get_by_role("table")
        expect(table).to_have_attribute("aria-rowcount", re.compile(r"^\d+$"))
        known = int(table.get_attribute("aria-rowcount") or 0) - 1
        assert 25 <= known <= 45
        with page.expect_download() as saved:
            page.get_by_role("button", name="CSV", exact=True).click()
        saved.value.save_as(tmp_path / "history.csv")
        lines = (tmp_path / "history.csv").read_text("utf-8-sig").splitlines()
        assert lines[0] == "Time,Host,CPU [%],CPU min [%],CPU max [%]"
        assert abs(len(lines) - 1 - known) <= 2  # a bucket may have ended meanwhile
        assert ",web-01,30,30,30" in lines[1]


@needs_history
@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_history_has_no_barrier(hud: Open, language: str) -> None:
    with hud(f"#/history?range=15m&lang={language}") as page:
        plot_box(page, "cpuLoad")
        assert axe_violations(page) == []
        page.locator("[data-lines]").press("End")
        page.goto(page.url + "&as=table&sel=web-01")
        page.get_by_role("table").wait_for()
        assert axe_violations(page) == []


@needs_replay
def test_the_past_is_marked_clearly_and_one_key_returns_to_now(hud: Open, ego: EgoServer) -> None:
    with hud("#/table") as page:
        page.keyboard.press("r")
        slider = page.get_by_role("slider", name="Moment shown")
        slider.press("PageDown")  # ten steps back: before the first sample
        expect(page.locator(".shell.past")).to_be_visible()
        expect(page.get_by_role("button", name=re.compile("^Past: "))).to_be_visible()
        expect(page.locator("[data-banner=past]")).to_contain_text("Commands are off")
        expect(page.get_by_role("table")).to_have_attribute("aria-rowcount", "1")  # the header; no hub without hosts
        expect(page.get_by_role("heading", name="EGO knew no host yet")).to_be_visible()
        ego.post_samples(make_sample("full-02", cpu_percent=95, rack="R2"))
        expect(page.get_by_text("Since then: 1 new alert")).to_be_visible()
        expect(page.get_by_role("table")).to_have_attribute("aria-rowcount", "1")
        expect(page).to_have_url(re.compile("at="))
        assert axe_violations(page) == []
        page.reload()
        expect(page.locator(".shell.past")).to_be_visible()
        page.keyboard.press("l")
        expect(page.locator(".shell.past")).to_have_count(0)
        expect(page.get_by_role("row").filter(has_text="full-02")).to_be_visible()
        expect(page).not_to_have_url(re.compile("at="))


@needs_replay
def test_play_advances_the_moment_and_the_space_key_pauses(hud: Open) -> None:
    with hud("#/table?tool=replay") as page:
        page.keyboard.press("r")
        page.get_by_role("button", name="1× speed").click()
        page.keyboard.press("Home")
        moment = page.locator(".moment time")
        expect(page.locator(".shell.past")).to_be_visible()
        before = moment.inner_text()
        page.locator("h1").evaluate("() => document.activeElement.blur()")
        page.keyboard.press("Space")
        expect(page.get_by_role("button", name="Pause")).to_be_visible()
        expect(moment).not_to_have_text(before)
        page.keyboard.press("Space")
        expect(page.get_by_role("button", name="Play")).to_be_visible()


@needs_replay
def test_time_travel_on_a_phone_needs_no_horizontal_scrolling(hud: Open) -> None:
    with hud("#/?lang=ko", viewport=PHONE, has_touch=True) as page:
        page.locator("header .chip").tap()
        slider = page.get_by_role("slider")
        slider.press("PageDown")
        expect(page.locator(".shell.past")).to_be_visible()
        page.wait_for_function("() => document.documentElement.scrollWidth <= innerWidth")  # when the page has settled
        assert axe_violations(page) == []


def test_a_wall_can_be_read_from_afar_and_outlives_a_reload(hud: Open) -> None:
    with hud("#/", viewport={"width": 1920, "height": 1080}) as page:
        page.keyboard.press("w")
        critical = page.locator("[data-counter=critical]")
        expect(critical).to_contain_text("1")
        expect(page.locator("header")).to_have_count(0)
        expect(page.get_by_role("separator")).to_have_count(0)
        sizes = page.locator("[data-wall]").evaluate(
            """wall => [...wall.querySelectorAll('*')]
                .filter(one => [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim()) && !one.closest('.note'))
                .map(one => parseFloat(getComputedStyle(one).fontSize))"""
        )
        assert len(sizes) > 10
        assert min(sizes) >= 28
        assert page.locator("[data-wall]").evaluate("wall => getComputedStyle(wall).cursor") == "none"
        expect(page.get_by_role("listitem").filter(has_text="full-01")).to_contain_text("Link utilization")
        assert axe_violations(page) == []
        page.reload()
        expect(critical).to_contain_text("1")
        xs = itertools.cycle([400, 440])

        def place_of_button() -> FloatRect | None:
            page.mouse.move(next(xs), 500)  # again, if a busy machine draws so late that the button has gone
            return page.get_by_role("button", name="Leave the wall").bounding_box()

        leave = wait_until(place_of_button, 20)
        page.mouse.click(leave["x"] + 9, leave["y"] + 9)  # at once: the button disappears without mouse movement
        expect(page.get_by_role("banner")).to_be_visible()
        expect(page).not_to_have_url(re.compile("wall"))


def test_a_wall_reloads_when_ego_has_a_new_hud(hud: Open) -> None:
    with hud("#/?wall=1", lost=True) as page:
        expect(page.locator("[data-counter=critical]")).to_contain_text("1")
        page.clock.install()

        def updated(route: Route) -> None:
            answer = route.fetch()
            route.fulfill(response=answer, body=json.dumps(answer.json() | {"build": "another"}))

        page.route("**/api/info", updated)
        page.evaluate("() => window.isOld = true")
        loaded: list[Page] = []
        page.on("load", lambda one: loaded.append(one))  # noqa: PLW0108  # Playwright takes no builtin
        page.context.set_offline(True)
        page.clock.fast_forward(20_000)  # not run_for, which would draw each frame of the scene
        page.context.set_offline(False)

        def is_loaded() -> bool:
            page.clock.fast_forward(15_000)
            page.wait_for_timeout(200)
            return bool(loaded)

        wait_until(is_loaded, 30, what="the wall reloads")
        assert page.evaluate("() => window.isOld") is None
        expect(page.locator("[data-counter=critical]")).to_contain_text("1")
        page.unroute_all(behavior="ignoreErrors")
