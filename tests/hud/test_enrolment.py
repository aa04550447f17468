"""The HUD's part of enrolment: the line to paste, hosts that wait, agents, pinned labels, and the audit."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Locator, Page, Route, expect

from mirror_stage.access.passwords import hashed
from tests.builders import make_sample
from tests.hud.browser import DESK, PHONE, axe_violations, needs_browser, needs_hud, opened, text_of_qr
from tests.hud.conftest import PATIENT
from tests.hud.test_door import PASSWORD, run, sign_in
from tests.security.credentials import signed_in
from tests.servers import EgoServer, running_ego

pytestmark = [needs_browser, needs_hud]
Open = Callable[..., AbstractContextManager[Page]]


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """An EGO that trusts nobody without a credential, with olaf (operator) and ada (admin)."""
    settings = PATIENT | {"MIRROR_STAGE_SECURITY": "strict"}
    with running_ego(tmp_path_factory.mktemp("locked"), settings) as ego:
        for person in (("olaf", "operator"), ("ada", "admin")):
            ego.rows(
                "INSERT INTO principals (name, role, password_hash, created_at) VALUES (?, ?, ?, 0)",
                *person,
                hashed(PASSWORD),
            )
        yield ego


@pytest.fixture
def hud(browser: Browser, locked: EgoServer) -> Open:
    """Open a place of this EGO's HUD: `with hud("#/enrolment") as page`."""

    def open_at(place: str = "#/enrolment", **context: object) -> AbstractContextManager[Page]:
        return opened(browser, f"{locked.url}/?probe=1{place}", **({"locked": True} | context))

    return open_at


def ask(ego: EgoServer, hostname: str, *, code: str | None = None, key: str = "") -> tuple[str, requests.Response]:
    """A host asks to be enrolled. Returns its key, and EGO's answer."""
    key = key or secrets.token_urlsafe(32)
    body = {"hostname": hostname, "key": key, "code": code, "instance": None}
    return key, requests.post(f"{ego.url}/api/agents/enroll", json=body, timeout=30)


def report(ego: EgoServer, token: str, sample: dict[str, Any]) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return requests.post(f"{ego.url}/api/metrics/batch", json={"samples": [sample]}, headers=headers, timeout=30)


def region(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=re.compile(f"^{name}"))


def test_a_host_enrols_with_the_line_that_an_admin_has_copied(hud: Open, locked: EgoServer) -> None:
    with hud(permissions=["clipboard-read", "clipboard-write"]) as page:
        sign_in(page, "ada")
        enrol = region(page, "Enrol a host")
        enrol.get_by_label("Hosts", exact=True).fill("2")
        enrol.get_by_label("Hostnames").fill("db-*")
        enrol.get_by_label("Rack").fill("R7")
        page.keyboard.press("Enter")
        expect(enrol.get_by_role("group", name="Paste this")).to_be_focused()
        expect(enrol).to_contain_text("Other machines do not reach 127.0.0.1")
        expect(enrol).to_contain_text("Over plain HTTP nothing proves")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # the button that copies
        expect(enrol.get_by_role("status")).to_have_text("Copied")
        line = page.evaluate("navigator.clipboard.readText()")
        code = re.search(r"ms_enroll_\w+", line)
        assert code
        assert "/enroll.sh" in line
        codes = enrol.get_by_role("listitem")
        expect(codes).to_contain_text("2 hosts left for db-*")
        expect(codes).to_contain_text("rack=R7")
        expect(codes).to_contain_text(re.compile(r"ends in (1 h|59 min)"))

        _, answer = ask(locked, "db-01", code=code[0])
        assert answer.status_code == 201, answer.text
        agent = region(page, "Agents").get_by_role("listitem").filter(has_text="db-01")
        expect(agent).to_contain_text("enrolled")
        expect(agent).to_contain_text("rack=R7")
        assert report(locked, answer.json()["token"], make_sample("db-01", rack="claimed", tags={"zone": "b"})).ok
        expect(agent).to_contain_text("last used")
        agent.get_by_role("button", name="Change the labels of db-01").press("Enter")
        expect(agent.get_by_label("Rack")).to_be_focused()
        assert axe_violations(page) == []
        page.keyboard.type("R8")
        agent.get_by_label("Room").fill("A")
        page.keyboard.press("Enter")
        expect(agent.get_by_role("button", name="Change the labels of db-01")).to_be_focused()
        expect(agent).to_contain_text("rack=R7R8 room=A")

        enrol.get_by_role("button", name=re.compile("End the code")).click()
        expect(codes).to_have_count(0)
        assert ask(locked, "db-02", code=code[0])[1].status_code == 401

        page.goto(f"{page.url.partition('#')[0]}#/host/db-01")
        expect(page.locator("article header")).to_contain_text("Rack R7")
        expect(page.locator("article header").get_by_role("img", name="Pinned by an admin")).to_be_visible()
        expect(page.get_by_text("From the agent, except what an admin has pinned.")).to_be_visible()
        assert axe_violations(page) == []


@pytest.mark.parametrize(
    ("language", "context"),
    [
        ("en", {"viewport": DESK}),
        ("ko", {"viewport": PHONE, "has_touch": True}),
        ("en", {"viewport": DESK, "contrast": "more"}),
        ("ko", {"viewport": PHONE, "forced_colors": "active"}),
    ],
    ids=["desk", "phone", "more contrast", "forced colours"],
)
def test_a_scanner_reads_the_whole_line_from_the_qr_code(hud: Open, language: str, context: dict[str, Any]) -> None:
    with hud(f"#/enrolment?lang={language}", **context) as page:
        page.get_by_role("dialog").locator("input").first.fill("ada")
        page.get_by_role("dialog").locator("input").last.fill(PASSWORD)
        page.keyboard.press("Enter")
        page.locator(".access form .primary").click()
        created = page.locator(".access .created")
        expect(created.get_by_role("img")).to_have_count(0)  # it is shown when somebody asks for it
        created.locator("button[aria-expanded=false]").press("Enter")
        code = created.get_by_role("img", name={"en": "QR code", "ko": "QR 코드"}[language])
        line = created.locator("code").first.inner_text()
        assert line.startswith("{ echo code=ms_enroll_")
        assert text_of_qr(page, code) == line
        if "forced_colors" not in context:  # axe does not see the colours that the browser puts in
            assert axe_violations(page) == []
        assert page.evaluate("document.querySelector('.access').scrollWidth") <= context["viewport"]["width"]
        created.locator("button[aria-expanded=true]").press("Enter")
        expect(code).to_have_count(0)


def test_waiting_hosts_are_shown_in_the_menu_and_decided_by_keyboard(hud: Open, locked: EgoServer) -> None:
    key, answer = ask(locked, "new-01")
    print_of_host = answer.json()["fingerprint"]
    ask(locked, "new-02")
    with hud("#/table") as page:
        sign_in(page, "ada")
        menu = page.get_by_role("button", name=re.compile("Hosts waiting for approval: 2"))
        expect(menu).to_be_visible()
        page.keyboard.press("m")
        page.get_by_role("link", name=re.compile("Hosts and agents.*waiting for approval: 2")).press("Enter")
        waiting = region(page, "Waiting hosts")
        expect(waiting.get_by_role("listitem").filter(has_text="new-01")).to_contain_text(print_of_host)
        assert axe_violations(page) == []
        waiting.get_by_label("Room").fill("A")
        waiting.get_by_role("button", name="Approve new-01 room=A").focus()
        page.keyboard.press("Enter")
        expect(waiting.get_by_role("listitem")).to_have_count(1)
        expect(waiting.get_by_role("button", name=re.compile("Approve new-02"))).to_be_focused()
        agent = region(page, "Agents").get_by_role("listitem").filter(has_text="new-01")
        expect(agent).to_contain_text("has not fetched its token yet")
        assert ask(locked, "new-01", key=key)[1].status_code == 201
        expect(agent).to_contain_text("generation 1")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # refuse
        expect(waiting).to_contain_text("No host is waiting.")
        expect(page.get_by_role("button", name=re.compile("waiting for approval"))).to_have_count(0)


def test_a_suspended_agent_is_loud_unlocked_and_revoked_after_a_question(hud: Open, locked: EgoServer) -> None:
    code = re.search(r"ms_enroll_\w+", run(locked, "enroll code --host clone-* --for 1h"))
    assert code
    token = ask(locked, "clone-01", code=code[0])[1].json()["token"]
    for instance in ("one", "two", "one", "two", "one", "two"):  # two machines in turn
        headers = {"Authorization": f"Bearer {token}", "X-Reflector-Instance": instance}
        body = {"samples": [make_sample("clone-01")]}
        requests.post(f"{locked.url}/api/metrics/batch", json=body, headers=headers, timeout=30)
    with hud() as page:
        sign_in(page, "ada")
        agents = region(page, "Agents")
        expect(agents.get_by_role("alert")).to_contain_text("1 suspended")
        first = agents.get_by_role("listitem").first
        expect(first).to_contain_text("clone-01")
        assert axe_violations(page) == []
        first.get_by_role("button", name="Unlock the agent of clone-01").press("Enter")
        expect(agents.get_by_role("alert")).to_have_count(0)
        agent = agents.get_by_role("listitem").filter(has_text="clone-01")
        agent.get_by_role("button", name="Revoke the agent of clone-01").press("Enter")
        expect(agent).to_contain_text("its pending commands are cancelled")
        expect(agent.get_by_role("button", name="Revoke")).to_be_focused()
        page.keyboard.press("Enter")
        expect(agent).to_contain_text("revoked")
        agents.get_by_role("searchbox").fill("no-such-host")
        expect(agents).to_contain_text("Nothing matches the search.")


def test_the_audit_says_who_did_what_is_searched_and_paged(hud: Open, locked: EgoServer) -> None:
    ada = signed_in(locked, {"name": "ada", "password": PASSWORD})
    while locked.rows("SELECT count(*) FROM audit")[0][0] <= 55:
        assert ada.ask("POST", "/api/tokens", json={"role": "viewer"}).status_code == 201
    with hud("#/access") as page:
        sign_in(page, "ada")
        audit = region(page, "Audit")
        expect(audit.get_by_role("row").filter(has_text="signed in").first).to_contain_text("ada")
        expect(audit.get_by_role("row")).to_have_count(51)
        audit.get_by_role("button", name="Older").press("Enter")
        expect(audit.get_by_role("button", name="Older")).to_have_count(0)
        assert audit.get_by_role("row").count() > 51
        audit.get_by_role("searchbox").fill("ADA signed in")
        rows = audit.locator("tbody tr")
        expect(rows.first).to_contain_text("signed in")
        assert all("ada" in text for text in rows.all_inner_texts())
        assert axe_violations(page) == []


def test_an_operator_is_not_asked_about_hosts(hud: Open) -> None:
    with hud() as page:
        sign_in(page, "olaf")
        expect(page.get_by_role("heading", name="Hosts and agents is not for the role operator")).to_be_visible()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.keyboard.press("m")
        expect(page.get_by_role("dialog").get_by_role("link", name="Access")).to_be_visible()
        expect(page.get_by_role("dialog").get_by_role("link", name="Hosts and agents")).to_have_count(0)
        page.wait_for_timeout(6_000)  # the screen of an admin would ask again each 5 s
        assert not [url for url in asked if "/api/agents" in url]


@pytest.mark.parametrize("language", ["en", "ko"])
def test_hosts_and_agents_fit_a_phone_and_axe_finds_nothing(hud: Open, locked: EgoServer, language: str) -> None:
    ask(locked, f"a-host-with-quite-a-long-name.{language}.example.internal")
    with hud(f"#/enrolment?lang={language}", viewport=PHONE, has_touch=True) as page:
        page.get_by_role("dialog").locator("input").first.fill("ada")
        page.get_by_role("dialog").locator("input").last.fill(PASSWORD)
        page.keyboard.press("Enter")
        page.locator(".access li").first.wait_for()
        page.locator(".access form .primary").click()
        expect(page.locator(".access .created")).to_be_visible()
        widest = (
            "Math.max(...[...document.querySelectorAll('.access *')].map((one) => one.getBoundingClientRect().right))"
        )
        assert page.evaluate(widest) <= PHONE["width"]
        assert axe_violations(page) == []
        page.goto(f"{page.url.partition('#')[0]}#/access?lang={language}")
        page.locator(".access tbody tr").first.wait_for()
        assert page.evaluate(widest) <= PHONE["width"]
        assert axe_violations(page) == []


def test_all_commands_are_stopped_with_a_reason_and_only_an_admin_resumes(hud: Open) -> None:
    """EGO's answers about dispatch are stood in for, so that this holds what the page does with them."""
    state: dict[str, Any] = {"stopped": False, "reason": None, "at": None, "by": None}
    asked: list[dict[str, Any]] = []

    def info(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | {"dispatch": state})

    def put(route: Route) -> None:
        asked.append(route.request.post_data_json)
        stopped = asked[-1]["stopped"]
        state.update(stopped=stopped, reason=asked[-1]["reason"], at="2026-01-02T03:04:05Z", by="olaf")
        route.fulfill(json=state)

    with hud("#/console") as page, hud("#/table") as admin:
        for one in (page, admin):
            one.route("**/api/info", info)
            one.route("**/api/dispatch", put)
        sign_in(page, "olaf")
        page.get_by_role("button", name="Stop all commands").press("Enter")
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_label("Reason")).to_be_focused()
        assert axe_violations(page) == []
        page.keyboard.type("rm -rf went wrong")
        page.keyboard.press("Enter")
        banner = page.locator("[data-banner=stopped]")
        expect(banner).to_contain_text("All commands are stopped.")
        expect(banner).to_contain_text("olaf")
        expect(banner).to_contain_text("rm -rf went wrong")
        expect(banner.get_by_role("button")).to_have_count(0)
        expect(page.get_by_role("button", name="Run", exact=True)).to_be_disabled()
        assert axe_violations(page) == []
        assert asked == [{"stopped": True, "reason": "rm -rf went wrong"}]
        sign_in(admin, "ada")
        admin.locator("[data-banner=stopped]").get_by_role("button", name="Let commands run again").press("Enter")
        expect(admin.locator("[data-banner=stopped]")).to_have_count(0)
        assert asked[-1] == {"stopped": False, "reason": None}
