"""Saved views and compared racks in a real browser."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, expect

from tests.hud.browser import PHONE, axe_violations, needs_browser, needs_hud, opened
from tests.servers import EgoServer

pytestmark = [needs_browser, needs_hud]


def test_a_view_is_saved_opened_renamed_and_deleted_by_keyboard(browser: Browser, fleet: EgoServer) -> None:
    with opened(browser, f"{fleet.url}/#/table?q=rack:R1") as page:
        page.keyboard.press("v")
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("textbox")).to_be_focused()
        page.keyboard.type("Rack one")
        page.keyboard.press("Enter")
        expect(dialog.get_by_role("link", name="Rack one")).to_be_visible()
        assert axe_violations(page) == []
        page.keyboard.press("Escape")
        page.goto(f"{fleet.url}/#/alerts")
        page.keyboard.press("v")
        dialog.get_by_role("button", name="Rename Rack one").press("Enter")
        page.keyboard.press("End")
        page.keyboard.type(" of three")
        page.keyboard.press("Enter")
        dialog.get_by_role("link", name="Rack one of three").press("Enter")
        expect(page).to_have_url(re.compile(r"#/table\?q=rack"))
        expect(dialog).to_have_count(0)
    with opened(browser, f"{fleet.url}/#/table", viewport=PHONE, locale="ko-KR") as page:
        page.keyboard.press("v")
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Rack one of three 삭제").press("Enter")
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("저장된 보기가 아직 없습니다.")


def test_racks_are_compared_as_lines(browser: Browser, fleet: EgoServer) -> None:
    with opened(browser, f"{fleet.url}/#/history") as page:
        page.get_by_label("Group of hosts").select_option("each:rack")
        expect(page).to_have_url(re.compile("of=each%3Arack"))
        values = page.locator("figure[data-metric=cpuLoad] .values")
        expect(values.get_by_role("listitem")).to_have_count(4)  # R1, R2, R3, and the one with markup in its name
        expect(values).to_contain_text("Rack R1")
