"""The flat plan in a real browser: every host, by pointer, key and finger; where it is the first screen."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.hud.browser import PHONE, axe_violations, needs_browser, needs_hud, opened
from tests.servers import EgoServer

pytestmark = [needs_browser, needs_hud]
Open = Callable[..., AbstractContextManager[Page]]


@pytest.fixture
def hud(browser: Browser, fleet: EgoServer) -> Open:
    """Open a place of the fleet's HUD."""

    def open_at(place: str, **context: object) -> AbstractContextManager[Page]:
        return opened(browser, f"{fleet.url}/{place}", **context)

    return open_at


def test_the_keys_reach_every_host_and_begin_at_the_worst(hud: Open) -> None:
    with hud("?probe=1#/table") as page:
        page.keyboard.press("2")
        plan = page.get_by_role("listbox", name=re.compile("^Flat plan of 24 hosts"))
        expect(plan).to_have_attribute("data-plan", "24")
        plan.focus()
        host = page.locator("#plan-host")
        expect(host).to_have_text(re.compile("^full-01, Critical, R2, Link utilization 100%$"))
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="full-01")).to_be_visible()
        page.keyboard.press("Home")
        expect(host).to_have_attribute("aria-posinset", "1")
        page.keyboard.press("End")
        expect(host).to_have_attribute("aria-posinset", "24")
        page.keyboard.press("ArrowUp")
        expect(host).not_to_have_attribute("aria-posinset", "24")
        page.keyboard.press("1")
        expect(page.locator("[data-stage]")).to_be_visible()


def test_a_click_selects_and_every_grouping_and_colour_shows_all_hosts(hud: Open) -> None:
    with hud("?probe=1#/plan?group=tier&colour=loadAverage&size=network") as page:
        plan = page.get_by_role("listbox")
        expect(plan).to_have_attribute("data-plan", "24")
        expect(page.get_by_role("group", name="Legend")).to_contain_text("largest:")
        page.mouse.click(*middle_of_first_cell(page))
        expect(page).to_have_url(re.compile(r"sel=\w"))
        page.get_by_role("combobox", name="Group by").select_option("agent")
        expect(plan).to_have_attribute("data-plan", "24")
        assert axe_violations(page) == []


def middle_of_first_cell(page: Page) -> tuple[float, float]:
    box = page.locator("[data-plan]").bounding_box()
    assert box is not None
    return box["x"] + 30, box["y"] + 36


def test_it_is_the_first_screen_of_a_phone_unless_the_address_says_another(hud: Open) -> None:
    with hud("", viewport=PHONE, has_touch=True) as page:
        expect(page.get_by_role("listbox", name=re.compile("^Flat plan"))).to_be_visible()
        expect(page).to_have_url(re.compile("#/plan$"))
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        assert axe_violations(page) == []
    with hud("?probe=1#/", viewport=PHONE, has_touch=True) as page:
        expect(page.locator("[data-stage]")).to_be_visible()
    with hud("") as page:
        expect(page.locator("[data-stage]")).to_be_visible()
