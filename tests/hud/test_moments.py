"""Both themes, two moments beside each other, and the way from a chart to its moment, in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.builders import make_sample
from tests.hud.browser import PHONE, axe_violations, needs_browser, needs_hud, opened
from tests.hud.conftest import PATIENT
from tests.servers import EgoServer, running_ego, wait_until

pytestmark = [needs_browser, needs_hud]
Open = Callable[..., AbstractContextManager[Page]]


@pytest.fixture(scope="module")
def ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """Four hosts; since the moment `ego.before`, `new-01` came, `web-01` moved to R2, and `hot-01` got hot."""
    with running_ego(tmp_path_factory.mktemp("moments"), PATIENT) as ego:
        now = datetime.now(UTC)
        past = [make_sample("web-02", at=(now - timedelta(seconds=age)).isoformat()) for age in range(20, 600, 10)]
        calm = [make_sample(name, rack="R1", cpu_percent=10) for name in ("web-01", "web-02", "hot-01")]
        receipt = ego.post_samples(*past, *calm)
        ego.before = receipt.json()["receivedAt"]  # type: ignore[attr-defined]
        wait_until(lambda: datetime.now(UTC) > datetime.fromisoformat(ego.before) + timedelta(seconds=1.5))  # type: ignore[attr-defined]
        ego.post_samples(
            make_sample("web-01", rack="R2", cpu_percent=10),
            make_sample("new-01", rack="R2", cpu_percent=10),
            make_sample("hot-01", rack="R1", cpu_percent=97, swap_percent=5),
        )
        yield ego


@pytest.fixture
def hud(browser: Browser, ego: EgoServer) -> Open:
    """Open a place of the fleet's HUD."""

    def open_at(place: str, **context: object) -> AbstractContextManager[Page]:
        return opened(browser, f"{ego.url}/{place}", **context)

    return open_at


def ground(page: Page) -> list[int]:
    """Red, green and blue behind the page."""
    found: list[int] = page.evaluate("() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    return found[:3]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_screen_has_a_barrier_in_either_theme(hud: Open, ego: Any, theme: str) -> None:
    with hud("?probe=1#/table", color_scheme=theme) as page:
        assert (min(ground(page)) > 200) == (theme == "light")
        for place in (
            "table",
            "plan",
            "alerts",
            "host/hot-01",
            "history?sel=web-02&range=15m",
            f"compare?against={ego.before}",
        ):
            page.evaluate("(place) => { location.hash = `#/${place}` }", place)
            page.locator("main :is(table, canvas, section, [role=status], article)").first.wait_for()
            assert axe_violations(page) == [], place


def test_a_theme_is_chosen_in_the_menu_and_kept(hud: Open) -> None:
    with hud("?probe=1#/table", color_scheme="dark") as page:
        page.keyboard.press("m")
        page.get_by_role("radio", name="Light").check()
        expect(page.locator("html")).to_have_attribute("data-theme", "light")
        assert min(ground(page)) > 200
        page.reload()
        page.locator("[data-is-ready=true]").wait_for()
        assert min(ground(page)) > 200


def test_forced_colours_keep_what_bars_say(hud: Open) -> None:
    with hud("#/host/hot-01", forced_colors="active", color_scheme="dark") as page:
        bar = page.locator(".gauge .fill").first
        bar.wait_for()
        assert bar.evaluate("one => getComputedStyle(one).stroke") == "rgb(255, 192, 77)"
        assert page.locator("h2 svg path").first.evaluate("one => getComputedStyle(one.parentElement).fill") != ""


def test_two_moments_stand_side_by_side(hud: Open, ego: Any) -> None:
    with hud(f"?probe=1#/compare?against={ego.before}") as page:
        rows = page.get_by_role("row")
        expect(rows.filter(has_text="new-01")).to_contain_text(re.compile("not there\\s*there"))
        expect(rows.filter(has_text="web-01")).to_contain_text(re.compile("Rack\\s*R1\\s*R2"))
        expect(rows.filter(has_text="hot-01")).to_contain_text(re.compile("CPU\\s*10%\\s*97%"))
        page.get_by_role("table").get_by_role("link").first.focus()
        page.keyboard.press("End")
        expect(rows.last.get_by_role("link")).to_be_focused()
        banner = page.locator("[data-banner=compared]")
        expect(banner).to_contain_text("Came 1")
        expect(banner).to_contain_text("Moved 1")
        page.keyboard.press("2")
        expect(banner.get_by_role("link", name="List")).to_be_visible()
        page.keyboard.press("Escape")
        expect(banner).to_have_count(0)
        expect(page).not_to_have_url(re.compile("against="))


def test_a_key_compares_with_an_hour_ago_and_ends_it(hud: Open) -> None:
    with hud("?probe=1#/table") as page:
        page.keyboard.press("d")
        expect(page.locator("[data-banner=compared]")).to_contain_text(re.compile("Came [45]"))
        expect(page).to_have_url(re.compile("against=2"))
        page.get_by_role("button", name="Swap").click()
        expect(page.locator(".shell.past")).to_be_visible()
        # How many came depends on EGO's clock, which a busy browser hears late.
        expect(page.locator("[data-banner=compared]")).to_contain_text(re.compile(r"Came \d"))
        page.keyboard.press("d")
        expect(page.locator("[data-banner=compared]")).to_have_count(0)


def test_a_point_of_a_chart_leads_to_its_moment_by_click_and_by_key(hud: Open) -> None:
    with hud("?probe=1#/history?range=15m&sel=web-02&rows=cpuLoad,gpuTemperature") as page:
        plot = page.locator("figure[data-metric=cpuLoad] .u-over")
        plot.wait_for()
        expect(page.locator("[data-missing]")).to_contain_text("GPU temperature")
        expect(page.locator("figure[data-metric]")).to_have_count(1)
        plot.click(position={"x": 400, "y": 30})
        expect(page).to_have_url(re.compile("at=2"))
        expect(page.locator(".shell.past")).to_be_visible()
        page.keyboard.press("l")
        expect(page.locator(".shell.past")).to_have_count(0)
        rows = page.get_by_role("group", name=re.compile("^Charts over time"))
        rows.focus()
        rows.press("ArrowLeft")
        rows.press("Enter")
        expect(page.locator(".shell.past")).to_be_visible()


def test_a_host_shows_what_has_fired_first_over_any_range_and_how_long_it_was_online(hud: Open) -> None:
    with hud("?probe=1#/host/hot-01", viewport=PHONE) as page:
        sparks = page.locator(".sparks")
        expect(sparks.locator("figcaption .label").first).to_have_text("CPU")
        expect(sparks.locator("[data-missing]")).to_contain_text("GPU temperature")
        sparks.get_by_role("button", name="24 h").click()
        expect(page).to_have_url(re.compile("range=24h"))
        known = page.locator("section").filter(has=page.get_by_role("heading", name="Availability"))
        expect(known).to_contain_text(re.compile("24 h\\s*100%.*not known"))
        page.wait_for_function("() => document.documentElement.scrollWidth <= innerWidth")
        line = sparks.get_by_role("button", name=re.compile("^CPU now"))
        line.focus()
        line.press("ArrowLeft")
        line.press("Enter")
        expect(page.locator(".shell.past")).to_be_visible()


def test_the_bench_says_how_long_a_frame_takes(hud: Open) -> None:
    with hud("?bench=60#/", viewport={"width": 640, "height": 400}) as page:
        told = json.loads(page.get_by_role("dialog").locator("code").inner_text())
        assert (told["hosts"], told["seconds"]) == (60, 10)
        assert 0 < told["medianMs"] <= told["p99Ms"]
        assert 0 < told["drawCalls"] <= 12
