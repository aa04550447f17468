"""Silences, deliveries and the settings of notifications in a real browser, with a real EGO and a receiver of its messages."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.hud.browser import PHONE, axe_violations, needs_browser, needs_hud, opened
from tests.hud.conftest import PATIENT, post_fleet
from tests.notifications.sinks import Sink, sink
from tests.servers import EgoServer, running_ego

pytestmark = [needs_browser, needs_hud]
Open = Callable[..., AbstractContextManager[Page]]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Sink]:
    """It refuses everything, until a test says something else."""
    with sink(lambda _: (404, {})) as made:
        yield made


@pytest.fixture(scope="module")
def ego(tmp_path_factory: pytest.TempPathFactory, receiver: Sink) -> Iterator[EgoServer]:
    """An EGO that tells `ops` of every CPU, then the fleet: so the alert of hot-01 makes a message, which is refused."""
    with running_ego(tmp_path_factory.mktemp("tabs"), PATIENT) as ego:
        assert ego.post("/api/channels", json={"name": "ops", "kind": "webhook", "url": f"{receiver.url}/x"}).ok
        routes = [{"name": "cpu", "rules": ["cpu_*"], "channels": ["ops"]}]
        assert requests.put(f"{ego.url}/api/routes", json={"routes": routes}, timeout=30).ok
        post_fleet(ego)
        yield ego


@pytest.fixture
def hud(browser: Browser, ego: EgoServer) -> Open:
    """Open a tab: `with hud("silences") as page`."""

    def open_at(tab: str, more: str = "", **context: Any) -> AbstractContextManager[Page]:
        return opened(browser, f"{ego.url}/?probe=1#/alerts/{tab}{more}", **context)

    return open_at


def part(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name, exact=True)


def row(within: Page | Locator, text: str) -> Locator:
    return within.get_by_role("listitem").filter(has_text=text)


def test_two_keys_silence_an_alert_and_one_takes_it_back(hud: Open) -> None:
    with hud("", "?by=none") as page:
        alert = page.locator("li[data-alert]").filter(has_text="hot-01")
        alert.get_by_role("link", name="hot-01", exact=True).focus()
        page.keyboard.press("s")
        expect(page.get_by_role("button", name="1 h")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog").get_by_role("status")).to_contain_text("silenced until")
        expect(alert).to_contain_text("silenced until")
        assert axe_violations(page) == []
        page.keyboard.press("Enter")  # Undo has the focus
        expect(alert).not_to_contain_text("silenced until")
        expect(alert.get_by_role("link", name="hot-01", exact=True)).to_be_focused()
        page.keyboard.press("y")
        expect(alert).to_contain_text("acknowledged until")
        page.keyboard.press("y")
        expect(alert).not_to_contain_text("acknowledged until")


def test_a_silence_says_what_it_covers_and_a_broad_one_is_confirmed(hud: Open) -> None:
    with hud("silences", locked=True) as page:  # EGO refuses a selector that is half typed
        silences = part(page, "Silences")
        silences.get_by_role("button", name="New").press("Enter")
        expect(silences.get_by_label("Hosts")).to_be_focused()
        page.keyboard.type("rack:")
        expect(silences.get_by_role("form").get_by_role("status")).to_contain_text("a value is missing")
        page.keyboard.type("R1")
        expect(silences.get_by_role("form").get_by_role("status")).to_contain_text(
            re.compile(r"8 of \d+ hosts, every rule .*open alerts: 1")
        )
        silences.get_by_label("Hosts").fill("*")
        silences.get_by_label("More than 30%").check()
        silences.get_by_label("Note").fill("a drill")
        page.keyboard.press("Enter")
        made = row(silences, "a drill")
        expect(made).to_contain_text(re.compile("In force.*until.*left.*every rule"))
        made.get_by_role("button", name="End").press("Enter")
        expect(made.get_by_role("button", name="Really: End")).to_be_focused()
        page.keyboard.press("Enter")
        expect(made).to_have_count(0)
        silences.get_by_role("button", name="Show ended").click()
        expect(made).to_contain_text("Ended")

        work = part(page, "Maintenance")
        work.get_by_role("button", name="New").click()
        work.get_by_label("Hosts").fill("host:web-01")
        work.get_by_label("Every week").check()
        work.get_by_role("checkbox", name="Sun").check()
        work.get_by_label("Time zone").fill("Asia/Seoul")
        work.get_by_label("Time zone").press("Enter")
        expect(row(work, "host:web-01")).to_contain_text("Sun 22:00–07:00 Asia/Seoul")


def test_a_message_that_was_given_up_is_loud_and_can_be_sent_again(hud: Open, receiver: Sink) -> None:
    with hud("deliveries") as page:
        given_up = row(page, "Given up")
        expect(given_up).to_contain_text(re.compile("ops.*CPU load.*hot-01.*tries: 1.*answer 404"))
        expect(page.get_by_text("Given up in the last 24 h: 1")).to_be_visible()
        expect(page.get_by_role("tab", name=re.compile("Deliveries ?1"))).to_be_visible()
        assert axe_violations(page) == []
        receiver.answer = lambda _: (200, {})
        given_up.get_by_role("button", name=re.compile("Send again")).press("Enter")
        expect(row(page, "hot-01")).to_contain_text(re.compile("Sent.*answer 200"))
        expect(page.get_by_role("tab", name="Deliveries", exact=True)).to_be_visible()


def test_channels_routes_and_who_hears_what(hud: Open, receiver: Sink) -> None:
    receiver.answer = lambda _: (503, {})
    with hud("settings") as page:
        channels, routes, hears = part(page, "Channels"), part(page, "Routes"), part(page, "Who is told of what")
        channels.get_by_role("button", name="Send test: ops").press("Enter")
        expect(row(channels, "ops")).to_contain_text("✕ · 503")
        channels.get_by_role("button", name="New").press("Enter")
        page.keyboard.type("phone")
        channels.get_by_label("Address").fill(f"{receiver.url}/planted-secret")
        page.keyboard.press("Enter")
        expect(row(channels, "phone")).to_contain_text(receiver.url)
        assert "planted" not in page.content()

        expect(row(hears, "Disk")).to_contain_text(["nobody is told", "nobody is told"])
        routes.get_by_role("button", name="New").press("Enter")
        page.keyboard.type("all")
        routes.get_by_role("combobox", name="From severity").select_option("info")
        routes.get_by_role("checkbox", name="phone").check()
        routes.get_by_role("button", name="Save").press("Enter")
        expect(hears).to_contain_text("Somebody is told of every rule.")
        routes.get_by_role("button", name="Up: all").press("Enter")
        expect(routes.get_by_role("listitem")).to_contain_text(["1. all", "2. cpu"])
        expect(routes.get_by_role("button", name="Down: all")).to_be_focused()
        hears.get_by_label("Host").fill("web-01")
        hears.get_by_role("combobox", name="Rule").select_option("cpu_load_high")
        expect(row(hears, "CPU load")).to_contain_text(
            re.compile("→ phone.*all: takes it.*cpu: a route above takes it")
        )
        assert axe_violations(page) == []


@pytest.mark.parametrize("tab", ["silences", "deliveries", "settings"])
def test_a_viewer_with_a_phone_sees_what_is_missing(hud: Open, tab: str) -> None:
    def as_viewer(route: Route) -> None:
        me = route.fetch().json() | {"role": "viewer", "permissions": ["view", "own-sessions"]}
        route.fulfill(body=json.dumps(me), content_type="application/json")

    with hud(tab, "?lang=ko", viewport=PHONE, has_touch=True) as page:
        page.route("**/api/me", as_viewer)
        page.reload()
        expect(page.get_by_role("tablist")).to_be_visible()
        expect(page.get_by_role("heading", level=2).first).to_be_visible()
        assert axe_violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        if tab != "deliveries":
            expect(page.get_by_text("조회자 역할은 보기만").first).to_be_visible()
        expect(page.locator("section form")).to_have_count(0)
