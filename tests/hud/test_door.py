"""The HUD where somebody has to sign in: the way in, what a role is offered, how a session ends, sessions and tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
import requests
from playwright.sync_api import Browser, Locator, Page, Route, expect

from mirror_stage.access.passwords import hashed
from tests.builders import make_sample
from tests.command_line import forked
from tests.hud.browser import PHONE, axe_violations, needs_browser, needs_hud, opened
from tests.hud.conftest import PATIENT
from tests.servers import EgoServer, running_ego

pytestmark = [needs_browser, needs_hud]
Open = Callable[..., AbstractContextManager[Page]]
# A link leads to the start view. The table is drawn much faster than the scene.
START_WITH_TABLE = "if (location.host) localStorage.setItem('mirror-stage-ego', '{\"startView\": \"table\"}')"
PASSWORD = "correct horse battery"
CUT_MS = 5_000  # the promise: a session that is ended is cut within this time


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """An EGO that trusts nobody without a credential: two hosts, and vera (viewer), olaf (operator), ada (admin)."""
    settings = PATIENT | {"MIRROR_STAGE_SECURITY": "strict"}
    with running_ego(tmp_path_factory.mktemp("locked"), settings) as ego:
        for person in (("vera", "viewer"), ("olaf", "operator"), ("ada", "admin")):
            ego.rows(
                "INSERT INTO principals (name, role, password_hash, created_at) VALUES (?, ?, ?, 0)",
                *person,
                hashed(PASSWORD),
            )
        report(ego, make_sample("web-01", cpu_percent=12, rack="R1"), make_sample("hot-01", cpu_percent=97, rack="R1"))
        yield ego


@pytest.fixture
def hud(browser: Browser, locked: EgoServer) -> Open:
    """Open a place of this EGO's HUD without being signed in: `with hud("#/table") as page`."""

    def open_at(place: str = "#/table", **context: object) -> AbstractContextManager[Page]:
        return opened(browser, f"{locked.url}/?probe=1{place}", **({"locked": True} | context))

    return open_at


def run(ego: EgoServer, words: str) -> str:
    """What a command prints, at EGO's own machine."""
    ended = forked(words.split(), cwd=ego.folder, env=ego.environment)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def secret_of_link(ego: EgoServer, name: str = "ada") -> str:
    return run(ego, f"admin link --name {name}").strip().partition("#k=")[2]


def report(ego: EgoServer, *samples: dict[str, object]) -> None:
    """Send samples as somebody who has signed in."""
    with requests.Session() as ada:
        page = ada.post(f"{ego.url}/api/session", json={"name": "ada", "password": PASSWORD}, timeout=30).json()["page"]
        headers = {"X-Mirror-Stage-Page": page}
        answer = ada.post(f"{ego.url}/api/metrics/batch", json={"samples": samples}, headers=headers, timeout=30)
        assert answer.status_code == 202, answer.text
        assert ada.delete(f"{ego.url}/api/session", headers=headers, timeout=30).status_code == 204


def door(page: Page) -> Locator:
    return page.get_by_role("dialog", name="Sign in")


def sign_in(page: Page, name: str) -> None:
    """By keyboard alone: the name has the focus."""
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    page.keyboard.type(name)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(door(page)).to_have_count(0)
    page.locator("[data-is-ready=true]").wait_for()


def row(page: Page, host: str) -> Locator:
    return page.get_by_role("row").filter(has_text=host)


def test_a_link_signs_in_and_its_secret_stays_nowhere(browser: Browser, locked: EgoServer) -> None:
    secret = secret_of_link(locked)
    asked: list[str] = []
    with opened(browser, "about:blank", locked=True, origin=locked.url) as page:
        page.add_init_script(START_WITH_TABLE)
        page.on("request", lambda request: asked.append(f"{request.url} {request.headers.get('referer')}"))
        page.goto(f"{locked.url}/#k={secret}")
        page.locator("[data-is-ready=true]").wait_for()
        assert secret not in page.evaluate("location.href + JSON.stringify(history.state)")
        assert page.evaluate("document.cookie") == ""
        assert page.evaluate("localStorage.getItem('mirror-stage-page /')") is None
        page.reload()
        page.locator("[data-is-ready=true]").wait_for()
        expect(door(page)).to_have_count(0)
        page.go_back()
        page.go_forward()
        page.locator("[data-is-ready=true]").wait_for()
        assert secret not in page.evaluate("location.href")
    assert len(asked) > 5
    assert not [one for one in asked if secret in one]


def test_a_link_that_was_used_says_so_and_what_to_do(browser: Browser, locked: EgoServer) -> None:
    secret = secret_of_link(locked)
    assert locked.post("/api/session", json={"link": secret}).status_code == 201
    with opened(browser, "about:blank", locked=True, origin=locked.url) as page:
        page.add_init_script(START_WITH_TABLE)
        page.goto(f"{locked.url}/#k={secret}")
        expect(door(page)).to_contain_text("This link does not work any more")
        expect(door(page)).to_contain_text("mirror-stage admin link")
        assert secret not in page.evaluate("location.href")
        page.goto(f"{locked.url}/#k={secret_of_link(locked)}")  # in the same page: it is not loaded anew
        expect(door(page)).to_have_count(0)
        page.locator("[data-is-ready=true]").wait_for()
        assert "#k=" not in page.evaluate("location.href")


def test_who_signs_in_comes_to_the_place_that_the_address_names(hud: Open) -> None:
    with hud("#/table?q=hot") as page:
        expect(door(page)).to_be_visible()
        expect(page).to_have_title("Sign in · MIRROR STAGE EGO")
        assert axe_violations(page) == []
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        expect(door(page)).to_be_visible()
        page.get_by_label("Name", exact=True).fill("ada")
        page.get_by_label("Password").fill("wrong horse battery")
        page.keyboard.press("Enter")
        expect(door(page).get_by_role("alert")).to_have_text("The name or the password is wrong.")
        expect(page.get_by_label("Password")).to_be_focused()
        expect(page.get_by_label("Password")).to_have_value("")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        expect(row(page, "hot-01")).to_be_visible()
        expect(page).to_have_url(re.compile(r"#/table\?q=hot&probe=1$"))
        expect(row(page, "web-01")).to_have_count(0)


def test_too_many_attempts_are_told_how_long_to_wait(hud: Open) -> None:
    with hud() as page:
        for _ in range(7):
            page.get_by_label("Name", exact=True).fill("mallory")
            page.get_by_label("Password").fill("wrong horse battery")
            page.keyboard.press("Enter")
            expect(page.get_by_label("Password")).to_have_value("")
        expect(door(page).get_by_role("alert")).to_contain_text(re.compile(r"Try again in \d+ s"))


def test_a_session_that_ends_shows_sign_in_over_the_view_and_goes_on_after_it(hud: Open, locked: EgoServer) -> None:
    with hud("#/table?q=web&sel=web-01") as page:
        sign_in(page, "vera")
        expect(row(page, "web-01")).to_be_visible()
        page.evaluate("window.notLoadedAnew = true")
        run(locked, "sessions end --all")
        door(page).wait_for(timeout=CUT_MS * 2)  # the promise, and the time of a slow machine
        expect(door(page)).to_contain_text("You are not signed in any more")
        page.wait_for_timeout(3_000)  # whoever loads the page in a loop would do so now
        assert page.evaluate("window.notLoadedAnew")
        report(locked, make_sample("web-01", cpu_percent=33.5, rack="R1"))
        sign_in(page, "vera")
        expect(row(page, "web-01")).to_contain_text("33.5%")
        expect(page).to_have_url(re.compile("q=web&sel=web-01"))
        expect(page.get_by_role("region", name="Details")).to_contain_text("web-01")
        expect(page.locator("[data-banner]")).to_have_count(0)
        assert page.evaluate("window.notLoadedAnew")


def test_another_tab_needs_no_second_sign_in(hud: Open) -> None:
    with hud() as page:
        sign_in(page, "vera")
        other = page.context.new_page()
        other.goto(page.url)
        expect(row(other, "hot-01")).to_be_visible()
        expect(door(other)).to_have_count(0)


def test_a_viewer_is_offered_no_commands_and_told_why(hud: Open) -> None:
    with hud("#/table?sel=hot-01") as page:
        sign_in(page, "vera")
        expect(page.get_by_role("region", name="Details")).to_contain_text("hot-01")
        expect(page.get_by_role("link", name="Run a command")).to_have_count(0)
        expect(page.get_by_role("link", name="Console")).to_have_count(0)
        expect(page.get_by_role("link", name="History").first).to_be_visible()
        page.keyboard.press("c")
        expect(page.get_by_role("heading", name="Console is not for the role viewer")).to_be_visible()
        assert axe_violations(page) == []
        page.keyboard.press("m")
        expect(page.get_by_role("dialog")).to_contain_text("vera")
        expect(page.get_by_role("dialog")).to_contain_text("viewer")


def test_an_operator_runs_commands_and_has_no_tokens(hud: Open) -> None:
    with hud("#/console") as page:
        sign_in(page, "olaf")
        expect(page.get_by_text("No commands have been run yet.").first).to_be_visible()
        expect(page.locator("[data-banner]")).to_have_count(0)
        page.goto(f"{page.url.partition('#')[0]}#/access")
        expect(page.get_by_role("region", name="Sessions")).to_contain_text("olaf")
        expect(page.get_by_role("region", name="Tokens")).to_have_count(0)


def test_signing_out_leaves_nothing_and_everywhere_ends_the_other_browsers(hud: Open) -> None:
    with hud() as page, hud() as elsewhere, hud() as vera:
        sign_in(elsewhere, "ada")
        sign_in(vera, "vera")
        sign_in(page, "ada")
        page.keyboard.press("m")
        page.get_by_role("button", name="Sign out everywhere").click()
        expect(door(page)).to_be_visible()
        expect(page.locator("tbody tr")).to_have_count(0)
        assert page.evaluate("sessionStorage.length") == 0
        expect(door(elsewhere)).to_be_visible()
        expect(door(vera)).to_have_count(0)  # of other people nobody is signed out


def test_an_admin_ends_sessions_by_keyboard(hud: Open) -> None:
    with hud("#/access") as page, hud() as other:
        sign_in(other, "vera")
        sign_in(page, "ada")
        sessions = page.get_by_role("region", name="Sessions")
        expect(sessions.get_by_text("this browser", exact=True)).to_have_count(1)
        sessions.get_by_role(
            "button", name=re.compile("End the session of vera, Chrome on Linux, 127.0.0.1")
        ).first.focus()
        page.keyboard.press("Enter")
        expect(door(other)).to_be_visible()
        end_others = sessions.get_by_role("button", name="End all others")
        if end_others.count():
            end_others.click()
        expect(sessions.get_by_role("listitem")).to_have_count(1)


def test_a_token_is_shown_once_works_and_is_revoked(hud: Open, locked: EgoServer) -> None:
    with hud("#/access", permissions=["clipboard-read", "clipboard-write"]) as page:
        sign_in(page, "ada")
        tokens = page.get_by_role("region", name="Tokens")
        tokens.get_by_role("radio", name="operator").check()
        tokens.get_by_label("Note").fill("nightly job")
        page.keyboard.press("Enter")
        expect(tokens.get_by_role("group", name="New token")).to_be_focused()
        tokens.get_by_role("button", name="Copy").click()
        token = page.evaluate("navigator.clipboard.readText()")
        assert token.startswith("ms_user_")
        headers = {"Authorization": f"Bearer {token}"}
        assert locked.get("/api/me", headers=headers).json()["role"] == "operator"
        tokens.get_by_role("button", name="Done").click()
        expect(page.get_by_text(token)).to_have_count(0)

        tokens.get_by_role("radio", name="Agent").check()
        tokens.get_by_label("Hostname").fill("x" * 300)
        page.keyboard.press("Enter")
        expect(tokens.get_by_role("alert")).to_contain_text("hostname")
        tokens.get_by_label("Hostname").fill("db-01")
        page.keyboard.press("Enter")
        expect(tokens.get_by_role("listitem").filter(has_text="agent of db-01")).to_contain_text("no end")
        tokens.get_by_role("button", name="Done").click()

        nightly = tokens.get_by_role("listitem").filter(has_text="nightly job")
        nightly.get_by_role("button", name="Revoke the token: script, operator, nightly job").click()
        expect(nightly.get_by_role("button", name="Revoke")).to_be_focused()
        page.keyboard.press("Enter")
        expect(nightly).to_contain_text("revoked")
        assert requests.get(f"{locked.url}/api/hosts", headers=headers, timeout=10).status_code == 401


@pytest.mark.parametrize("language", ["en", "ko"])
def test_sign_in_and_access_fit_a_narrow_phone_and_axe_finds_nothing(hud: Open, language: str) -> None:
    with hud(f"#/access?lang={language}", viewport={"width": 320, "height": 640}, has_touch=True) as page:
        dialog = page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        assert axe_violations(page) == []
        assert page.evaluate("document.querySelector('dialog').scrollWidth") <= 320
        dialog.locator("input").first.fill("ada")
        dialog.locator("input").last.fill(PASSWORD)
        page.keyboard.press("Enter")
        expect(page.get_by_role("region").filter(has=page.locator("form")).last).to_be_visible()
        page.locator(".access li").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") == 320
        assert (
            page.evaluate(
                "Math.max(...[...document.querySelectorAll('.access *')].map((one) => one.getBoundingClientRect().right))"
            )
            <= 320
        )
        assert axe_violations(page) == []


def test_on_egos_own_machine_nothing_is_asked_and_nothing_waits_for_who_it_is(
    browser: Browser, fleet: EgoServer
) -> None:
    context = browser.new_context(viewport=PHONE)
    page = context.new_page()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/api/me", hold)  # EGO never answers this question
    page.goto(f"{fleet.url}/#/table")
    page.locator("[data-is-ready=true]").wait_for(timeout=30_000)
    assert held
    expect(page.get_by_role("dialog")).to_have_count(0)
    context.close()
    with opened(browser, f"{fleet.url}/?probe=1#/table") as page:
        page.keyboard.press("m")
        expect(page.get_by_role("dialog")).to_contain_text("so you need not sign in")
        expect(page.get_by_role("link", name="Access")).to_be_visible()


def test_an_open_ego_says_so_in_a_banner_that_stays(browser: Browser, start_ego: Callable[..., EgoServer]) -> None:
    ego = start_ego(PATIENT | {"MIRROR_STAGE_SECURITY": "open"})
    assert ego.post_samples(make_sample("bare")).status_code == 202
    with opened(browser, f"{ego.url}/?probe=1#/table") as page:
        banner = page.locator("[data-banner=open]")
        expect(banner).to_contain_text("Everybody who reaches this EGO may run commands on every host")
        expect(banner).to_contain_text("Remove this setting")
        expect(banner.locator("button, a")).to_have_count(0)
        assert axe_violations(page) == []
        page.keyboard.press("Escape")
        page.keyboard.press("w")
        expect(page.get_by_role("main", name="Wall")).to_have_count(0)
        expect(banner).to_be_visible()
