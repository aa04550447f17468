"""The plain page at `/plain` in a real browser: it shows the twin, follows it, and shows agents' texts as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.builders import make_sample, unique_hostname
from tests.hud.browser import needs_browser
from tests.hud.conftest import MARKUP
from tests.servers import EgoServer

pytestmark = needs_browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    page.problems = []  # type: ignore[attr-defined]
    page.on("console", lambda message: message.type == "error" and page.problems.append(message.text))  # type: ignore[attr-defined]
    page.on("pageerror", lambda error: page.problems.append(str(error)))  # type: ignore[attr-defined]
    yield page
    page.close()


def row(page: Page, host: str) -> Any:
    return page.get_by_role("row").filter(has_text=host)


def test_a_posted_host_appears_and_follows_without_a_reload(page: Page, start_ego: Callable[..., EgoServer]) -> None:
    ego, host = start_ego(), unique_hostname("seen")
    page.goto(f"{ego.url}/plain")
    expect(row(page, "core-switch")).to_contain_text("virtual")
    ego.post_samples(make_sample(host, cpu_percent=41.5, rack="R7"))
    expect(row(page, host)).to_contain_text("41.5%")
    expect(row(page, host)).to_contain_text("R7")
    ego.post_samples(make_sample(host, cpu_percent=91.5))
    expect(row(page, host)).to_contain_text("warning")
    assert page.problems == []  # type: ignore[attr-defined]


def test_the_plain_page_shows_a_host_without_javascript(browser: Browser, start_ego: Callable[..., EgoServer]) -> None:
    ego, host = start_ego(), unique_hostname("plain")
    ego.post_samples(make_sample(host, cpu_percent=12.5))
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{ego.url}/plain")
    expect(row(page, host)).to_contain_text("12.5%")
    context.close()


def test_the_plain_page_speaks_both_languages(browser: Browser, start_ego: Callable[..., EgoServer]) -> None:
    ego = start_ego()
    ego.post_samples(make_sample("titan", cpu_percent=97, disks=[{"mountpoint": "/", "used_percent": 42}]))
    page = browser.new_page(locale="ko-KR")
    page.goto(f"{ego.url}/plain")
    expect(page.locator("html")).to_have_attribute("lang", "ko")
    expect(page.locator("#summary")).to_contain_text("호스트 2대, 온라인 2대")
    expect(row(page, "titan")).to_contain_text("주의97.0%40.0%")
    expect(row(page, "titan")).to_contain_text("42.0%")
    page.get_by_role("link", name="English").click()
    expect(page.get_by_role("columnheader", name="Fullest disk")).to_be_visible()
    expect(row(page, "titan")).to_contain_text("warning")
    page.close()


def test_the_plain_page_shows_markup_from_agents_as_text(page: Page, start_ego: Callable[..., EgoServer]) -> None:
    ego = start_ego()
    ego.post_samples(make_sample("liar", rack=MARKUP[:64], tags={"display_name": MARKUP}))
    page.goto(f"{ego.url}/plain")
    expect(page.locator("#summary")).to_contain_text("online")  # the script has drawn the table again
    expect(row(page, "onerror")).to_have_count(1)
    expect(row(page, "onerror")).to_contain_text("liar")
    assert page.locator("#hosts img, #hosts script").count() == 0
    assert page.title() == "MIRROR STAGE EGO"


def test_the_plain_page_says_that_ego_does_not_answer_and_recovers(
    page: Page, start_ego: Callable[..., EgoServer]
) -> None:
    ego = start_ego()
    page.goto(f"{ego.url}/plain")
    expect(page.locator("#summary")).to_contain_text("online")
    ego.kill()
    expect(page.locator("#summary")).to_contain_text("no answer")
    ego.start()
    expect(page.locator("#summary")).to_contain_text("online")
