"""The shell and the table with a real EGO: they show what EGO knows, and the keyboard reaches everything."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, Locator, Page, expect

from tests.builders import make_sample, unique_hostname
from tests.hud.browser import DESK, PHONE, axe_violations, needs_browser, needs_hud, opened
from tests.hud.conftest import MARKUP, PATIENT
from tests.hud.proxy import running_proxy
from tests.servers import EgoServer, wait_until

pytestmark = [needs_browser, needs_hud]
Open = Callable[..., AbstractContextManager[Page]]


@pytest.fixture
def hud(browser: Browser, fleet: EgoServer) -> Open:
    """Open a place of the fleet's HUD: `with hud("#/table") as page`."""

    def open_at(place: str = "#/table", **context: object) -> AbstractContextManager[Page]:
        return opened(browser, f"{fleet.url}/?probe=1{place}", **context)

    return open_at


def row(page: Page, host: str) -> Locator:
    return page.get_by_role("row").filter(has_text=host)


def counter(page: Page, state: str) -> Locator:
    return page.get_by_role("button", name=re.compile(rf"^\d+ {state}"))


def names(page: Page) -> list[str]:
    return page.locator("tbody th[scope=row]").all_inner_texts()


def test_the_counters_are_those_of_ego(hud: Open, fleet: EgoServer) -> None:
    hosts = [host for host in fleet.get("/api/hosts").json()["items"] if not host["isSynthetic"]]
    with hud() as page:
        for state, severity in (("Warning", "warning"), ("Critical", "critical")):
            count = sum(host["severity"] == severity for host in hosts)
            expect(counter(page, state)).to_contain_text(str(count))
            assert count >= 1
        expect(counter(page, "Hosts: show all")).to_contain_text(str(len(hosts)))
        expect(page.get_by_role("table")).to_have_attribute("aria-rowcount", str(len(hosts) + 2))  # header and hub


def test_the_worst_hosts_come_first_and_a_click_on_a_column_sorts(hud: Open) -> None:
    with hud() as page:
        expect(page.locator("tbody th[scope=row]").first).to_have_text("full-01")
        assert names(page)[:2] == ["full-01", "hot-01"]
        page.get_by_role("button", name="CPU", exact=True).click()
        expect(page.get_by_role("columnheader", name="CPU")).to_have_attribute("aria-sort", "descending")
        assert names(page)[:2] == ["hot-01", "web-21"]
        page.get_by_role("button", name="Host", exact=True).click()
        assert names(page)[:3] == [MARKUP, "core-switch", "full-01"]


def test_a_posted_host_appears_and_follows_without_a_reload(hud: Open, fleet: EgoServer) -> None:
    host = unique_hostname("new")
    with hud(f"#/table?q={host}") as page:
        expect(page.get_by_role("heading", name="No host matches the search")).to_be_visible()
        fleet.post_samples(make_sample(host, cpu_percent=41.5, rack="R7"))
        expect(row(page, host)).to_contain_text("41.5%")
        fleet.post_samples(make_sample(host, cpu_percent=91.5))
        expect(row(page, host)).to_contain_text("Warning")
        assert requests.delete(f"{fleet.url}/api/hosts/{host}", timeout=10).status_code == 204
        expect(row(page, host)).to_have_count(0)


def test_search_counters_and_address_set_the_same_filter(hud: Open) -> None:
    with hud() as page:
        page.keyboard.press("/")
        page.keyboard.type("rack:R1 cpu>90")
        expect(page.get_by_role("table")).to_have_attribute("aria-rowcount", "2")
        assert names(page) == ["hot-01"]
        expect(page).to_have_url(re.compile("q=rack"))
        page.keyboard.press("Escape")
        counter(page, "Critical").click()
        expect(page.get_by_role("searchbox")).to_have_value("is:critical")
        expect(page.get_by_role("table")).to_have_attribute("aria-rowcount", "2")
        assert names(page) == ["full-01"]
        page.reload()
        expect(row(page, "full-01")).to_be_visible()
        assert names(page) == ["full-01"]
        page.get_by_role("searchbox").fill("cpu>much")
        expect(page.get_by_text("Not understood: cpu>much")).to_be_visible()


def test_a_selected_host_is_announced_to_screen_readers_and_kept_over_a_reload(hud: Open) -> None:
    with hud() as page:
        row(page, "hot-01").get_by_role("button").click()
        expect(page.get_by_role("region", name="Details")).to_contain_text("hot-01")
        expect(page.get_by_role("status").filter(has_text="hot-01, Warning, CPU 97 percent, rack R1")).to_have_count(1)
        page.reload()
        expect(page.get_by_role("region", name="Details")).to_contain_text("hot-01")
        expect(row(page, "hot-01").get_by_role("button")).to_have_attribute("aria-pressed", "true")


def test_everything_is_reached_by_keyboard(hud: Open) -> None:
    with hud("#/") as page:
        page.keyboard.press("t")
        expect(page.get_by_role("table")).to_be_visible()
        page.keyboard.press("n")
        expect(page.get_by_role("region", name="Details")).to_contain_text("full-01")
        page.keyboard.press("n")
        expect(page.get_by_role("region", name="Details")).to_contain_text("hot-01")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile("#/host/hot-01"))
        page.keyboard.press("Escape")
        expect(page).to_have_url(re.compile("#/table"))
        expect(row(page, "hot-01").get_by_role("button")).to_have_attribute("aria-pressed", "true")
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.keyboard.press("m")
        expect(page.get_by_role("dialog", name="Menu")).to_be_visible()
        page.keyboard.press("Escape")
        page.keyboard.press("k")
        expect(page.locator("html")).to_have_attribute("lang", "ko")
        page.locator("tbody th button").first.focus()
        page.keyboard.press("Enter")
        expect(page.locator("tr.chosen")).to_contain_text("full-01")


def test_the_table_and_the_details_show_markup_from_agents_as_text(hud: Open) -> None:
    with hud("#/table?q=onerror&sel=liar") as page:
        expect(page.locator("tbody th[scope=row]")).to_have_text(MARKUP)
        expect(page.get_by_role("region", name="Details")).to_contain_text("onerror")
        assert page.locator("#app img, #app script").count() == 0
        assert "owned" not in page.title()


def test_a_setting_is_remembered_and_the_language_is_the_browsers(hud: Open) -> None:
    with hud(locale="ko-KR") as page:
        expect(page.get_by_role("columnheader", name="메모리")).to_be_visible()
        page.get_by_role("button", name="열", exact=True).click()
        page.get_by_role("checkbox", name="메모리", exact=True).uncheck()
        expect(page.get_by_role("columnheader", name="메모리")).to_have_count(0)
        page.reload()
        expect(page.get_by_role("columnheader", name="온도")).to_be_visible()
        expect(page.get_by_role("columnheader", name="메모리")).to_have_count(0)


def test_the_exported_file_of_hosts_has_the_rows_of_the_table(hud: Open) -> None:
    with hud("#/table?q=rack:R1 cpu>90") as page:
        expect(row(page, "hot-01")).to_be_visible()
        with page.expect_download() as download:
            page.get_by_role("button", name="CSV").click()
        lines = Path(download.value.path()).read_text(encoding="utf-8-sig").splitlines()
        assert lines[0].startswith("Host,State,Address,Rack,CPU [%]")
        assert lines[1].startswith("hot-01,warning,10.0.2.1,R1,97,")
        assert len(lines) == 2


def test_of_thousands_of_hosts_a_few_rows_are_in_the_document(
    browser: Browser, start_ego: Callable[..., EgoServer]
) -> None:
    ego = start_ego(PATIENT)
    for start in range(0, 2000, 1000):
        batch = [make_sample(f"h{number:04}", cpu_percent=number % 70) for number in range(start, start + 1000)]
        assert ego.post_samples(*batch).status_code == 202
    with opened(browser, f"{ego.url}/?probe=1#/table?sort=hostname") as page:
        expect(page.get_by_role("table")).to_have_attribute("aria-rowcount", "2002")
        assert page.locator("tbody tr").count() < 60
        widths = page.locator("table").evaluate(
            "(table) => [...table.tHead.rows[0].cells].map((cell) => cell.offsetWidth).concat(table.offsetWidth)"
        )
        assert sum(widths[:-1]) > widths[-1] - 5  # no column that nobody named takes a share
        page.get_by_role("region", name="Table").evaluate("(element) => element.scrollTo(0, element.scrollHeight)")
        expect(row(page, "h1999")).to_be_in_viewport()
        expect(row(page, "h1999")).to_have_attribute("aria-rowindex", "2002")
        assert page.locator("tbody tr").count() < 60


def test_an_empty_hud_says_how_to_add_a_host_and_a_banner_shows_while_ego_is_lost(
    browser: Browser, start_ego: Callable[..., EgoServer]
) -> None:
    ego = start_ego(PATIENT)
    small = {"width": 800, "height": 520}  # because the CPU draws every pixel of the scene
    with opened(browser, f"{ego.url}/?probe=1#/table", lost=True, viewport=small, reduced_motion="reduce") as page:
        expect(page.get_by_role("heading", name="No host has sent data yet")).to_be_visible()
        expect(page.get_by_text(f"mirror-stage reflector run --ego http://EGO-ADDRESS:{ego.port}")).to_be_visible()
        ego.post_samples(make_sample("kept"))
        expect(row(page, "kept")).to_be_visible()
        expect(page.get_by_role("heading", name="No host has sent data yet")).to_have_count(0)
        ego.kill()
        expect(page.locator("[data-banner=lost]")).to_contain_text("Last update")
        expect(row(page, "kept")).to_be_visible()
        banner, frozen = page.locator("[data-banner=lost] span").first, row(page, "kept").inner_text()
        expect(banner).not_to_have_text(banner.inner_text())  # its clock goes on,
        assert row(page, "kept").inner_text() == frozen  # those of the hosts stand still
        ego.start()
        expect(page.locator("[data-banner]")).to_have_count(0)  # the page reconnects by itself
        page.goto(f"{ego.url}/?probe=1#/")  # a single machine stands for itself, with its numbers and the next step
        alone = page.get_by_role("region", name="kept")
        expect(alone).to_contain_text(re.compile(r"CPU.*Memory.*Watched for"))
        alone.get_by_text("Add another host").click()
        expect(alone.locator("code")).to_contain_text("EGO-ADDRESS")
        expect(alone).not_to_contain_text("127.0.0.1")
        wait_until(lambda: page.evaluate("window.__ego?.stage?.stats().draws > 1"), 20, what="the scene is drawn")
        middle = page.evaluate("window.__ego.stage.screen('kept')")
        assert abs(middle["x"] - small["width"] / 2) < 40
        assert page.evaluate("window.__ego.stage.screen('core-switch')") is None
        ego.post_samples(make_sample("after"))
        expect(alone).to_have_count(0)
        page.keyboard.press("t")
        expect(row(page, "after")).to_be_visible()


def test_the_menu_says_that_an_agent_is_refused_and_why(browser: Browser, start_ego: Callable[..., EgoServer]) -> None:
    ego = start_ego()
    assert ego.post_samples(make_sample("fine")).status_code == 202
    with opened(browser, f"{ego.url}/?probe=1#/table", locale="en-US") as page:
        page.get_by_role("button", name="Menu", exact=True).click()
        expect(page.get_by_role("dialog")).to_contain_text("Everything works.")
        page.keyboard.press("Escape")
        assert ego.post_samples(make_sample("broken") | {"cpu_load": -1}).status_code == 400
        page.get_by_role("button", name="Menu", exact=True).click()
        expect(page.get_by_role("dialog")).to_contain_text("Somebody is being refused")
        expect(page.get_by_role("dialog")).to_contain_text("127.0.0.1 was refused once in the last 10 minutes")
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Menu: EGO needs attention")).to_be_visible()


def test_the_hud_works_under_a_prefix_and_behind_a_proxy_without_websockets(browser: Browser, fleet: EgoServer) -> None:
    with (
        running_proxy(fleet.port, prefix="/deep/ego") as url,
        opened(browser, f"{url}/?probe=1#/table", lost=True) as page,
    ):
        expect(row(page, "hot-01")).to_be_visible()
        page.keyboard.press("a")  # the code of this screen is loaded later
        expect(page).to_have_url(re.compile(r"/deep/ego/\?*.*#/alerts"))


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_axe_finds_nothing_in_either_language(hud: Open, viewport: dict[str, int]) -> None:
    with hud("#/table", viewport=viewport) as page:
        for language in ("en", "ko"):
            expect(page.locator("html")).to_have_attribute("lang", language)
            expect(row(page, "hot-01")).to_be_visible()
            assert axe_violations(page) == []
            for key in ("m", "?"):
                page.keyboard.press(key)
                expect(page.get_by_role("dialog")).to_be_visible()
                assert axe_violations(page) == []
                page.keyboard.press("Escape")
            page.keyboard.press("k")
        page.keyboard.press("t")
        expect(page.locator("[data-stage]")).to_be_visible()
        assert axe_violations(page) == []


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_hud_fits_a_narrow_phone_and_its_header_buttons_are_large_enough(hud: Open, language: str) -> None:
    with hud(f"#/?lang={language}", viewport={"width": 320, "height": 640}, has_touch=True) as page:
        for place in ("#/", "#/table", "#/alerts", "#/host/hot-01"):
            page.goto(f"{page.url.partition('#')[0]}{place}?lang={language}")
            expect(page.locator("main")).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") == 320
            for button in page.locator("header :is(button, a):visible").all():
                box = button.bounding_box()
                assert box is not None
                assert min(box["width"], box["height"]) >= 24, button.get_attribute("aria-label")


def test_the_host_list_on_a_phone_shows_a_new_value(hud: Open, fleet: EgoServer) -> None:
    with hud("#/?q=web-05", viewport=PHONE, has_touch=True) as page:
        page.get_by_role("tab", name=re.compile("^Host")).tap()
        host = page.get_by_role("button", name=re.compile("web-05"))
        expect(host).to_contain_text("15%")
        fleet.post_samples(make_sample("web-05", cpu_percent=55, rack="R3"))
        expect(host).to_contain_text("55%")
