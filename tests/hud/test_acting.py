"""Host detail, alerts and console in a real browser, with a real EGO and simulated agents."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.builders import make_sample, unique_hostname
from tests.hud.browser import DESK, PHONE, axe_violations, needs_browser, needs_hud, opened
from tests.hud.conftest import MARKUP, PATIENT, post_fleet
from tests.servers import EgoServer, running_ego

pytestmark = [needs_browser, needs_hud]
Open = Callable[..., AbstractContextManager[Page]]


@pytest.fixture(scope="module")
def ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """The fleet of conftest in an EGO of this module's own, so that no other test changes commands and alerts."""
    with running_ego(tmp_path_factory.mktemp("acting"), PATIENT) as ego:
        post_fleet(ego)
        yield ego


@pytest.fixture
def hud(browser: Browser, ego: EgoServer) -> Open:
    """Open a place of the HUD: `with hud("#/alerts") as page`."""

    def open_at(place: str, **context: Any) -> AbstractContextManager[Page]:
        return opened(browser, f"{ego.url}/?probe=1{place}", **context)

    return open_at


class Agent:
    """The agent of one host, which does each step of a command when the test says so."""

    def __init__(self, ego: EgoServer, hostname: str):
        self._ego, self.hostname, self._seq = ego, hostname, 0
        assert self.claim(wait=0) == []  # after this poll EGO knows that this agent fetches commands

    def claim(self, wait: int = 8) -> list[dict[str, Any]]:
        answer = self._ego.get(f"/api/commands/pending/{self.hostname}", params={"wait": wait}, timeout=wait + 5)
        return list(answer.json())

    def prints(self, id: str, text: str, stream: str = "stdout") -> None:
        body = {"seq": self._seq, "stream": stream, "data": text}
        self._seq += 1
        assert self._ego.post(f"/api/commands/{id}/output", json=body).ok

    def ends(self, id: str, stdout: str = "", stderr: str = "", code: int = 0) -> None:
        status = "succeeded" if code == 0 else "failed"
        body = {"status": status, "exitCode": code, "stdout": stdout, "stderr": stderr, "durationSeconds": 0.5}
        assert self._ego.post(f"/api/commands/{id}/result", json=body).ok

    def runs_one(self, stdout: str, code: int = 0) -> str:
        (item,) = self.claim()
        self.ends(item["id"], stdout, code=code)
        return str(item["id"])


def new_agents(ego: EgoServer, stem: str, count: int, rack: str) -> list[Agent]:
    names = [unique_hostname(stem) for _ in range(count)]
    assert ego.post_samples(*[make_sample(name, rack=rack) for name in names]).status_code == 202
    return [Agent(ego, name) for name in names]


def run(page: Page, command: str) -> None:
    page.get_by_label("Command", exact=True).fill(command)
    page.keyboard.press("Enter")


def test_the_host_screen_shows_meters_disks_processes_and_alerts_and_follows_a_new_sample(
    hud: Open, ego: EgoServer
) -> None:
    host = unique_hostname("known")
    disks = [{"mountpoint": "/", "used_percent": 20}, {"mountpoint": "/full", "used_percent": 93.4}]
    processes = [
        {"pid": 1, "name": "alpha", "cpu_percent": 1, "memory_percent": 60},
        {"pid": 2, "name": MARKUP[:60], "cpu_percent": 70, "memory_percent": 2},
    ]
    more = {"disks": disks, "top_processes": processes, "tags": {"role": MARKUP[:60]}, "temperatures": {"nvme": 66}}
    assert ego.post_samples(make_sample(host, cpu_percent=97, cpu_per_core=[10.0, 99.0], **more)).ok
    with hud(f"#/host/{host}") as page:
        meter = page.get_by_role("meter", name="CPU")
        expect(meter).to_have_attribute("aria-valuenow", "97")
        expect(meter).to_have_attribute("aria-valuetext", re.compile(r"97%, an alert fires at 80%, busiest 99%"))
        expect(page.get_by_role("meter", name="Hottest")).to_have_attribute("aria-valuetext", re.compile("66 °C.*nvme"))
        expect(page.get_by_role("img", name=re.compile("2 cores, the busiest at 99%"))).to_be_visible()
        disks_shown = (
            page.locator("section").filter(has=page.get_by_role("heading", name="Disks")).get_by_role("listitem")
        )
        expect(disks_shown).to_contain_text(["/full", "20%"])  # the fullest disk comes first
        rows = page.locator("tbody th[scope=row]")
        expect(rows.first).to_contain_text("<img src=x")
        page.get_by_role("button", name="Memory", exact=True).click()
        expect(rows.first).to_contain_text("alpha")
        expect(page.get_by_text("CPU load")).to_be_visible()  # the alert of this host
        assert page.locator("#app img, #app script").count() == 0
        ego.post_samples(make_sample(host, cpu_percent=12, **more))
        expect(meter).to_have_attribute("aria-valuenow", "12")
        page.get_by_role("link", name="Run a command").click()
        expect(page.get_by_role("button", name=f"Remove {host}")).to_be_visible()


def test_the_critical_alert_comes_first_and_a_resolved_alert_moves_to_the_resolved_list(
    hud: Open, ego: EgoServer
) -> None:
    host = unique_hostname("busy")
    with hud("#/alerts") as page:
        active, resolved = page.get_by_role("region", name="Active"), page.get_by_role("region", name="Resolved")
        expect(active.get_by_role("link").first).to_have_text("full-01")  # the critical alert
        expect(page).to_have_title("(1) Alerts · MIRROR STAGE EGO")
        ego.post_samples(make_sample(host, cpu_percent=93.5))
        expect(active.get_by_role("listitem").filter(has_text=host)).to_contain_text("93.5% (fires at 80%)")
        page.get_by_role("radio", name="Rule").check(force=True)
        expect(active.get_by_role("heading", level=3)).to_contain_text(["Link utilization", "CPU load"])
        expect(page).to_have_url(re.compile("by=rule"))
        ego.post_samples(make_sample(host, cpu_percent=3))
        over = resolved.get_by_role("listitem").filter(has_text=host)
        expect(over).to_contain_text(re.compile(r"CPU load.*peak 93\.5%.*resolved at ≤ 70%"))
        expect(over.locator("time")).to_have_count(2)  # from when until when
        expect(active.get_by_role("listitem").filter(has_text=host)).to_have_count(0)


def test_a_burst_of_critical_alerts_is_spoken_at_most_once_in_five_seconds(hud: Open, ego: EgoServer) -> None:
    with hud("#/alerts?by=none") as page:
        page.evaluate(
            """() => { window.spoken = []; const region = document.querySelectorAll('[role=status].unseen[aria-live]')[1];
            new MutationObserver(() => window.spoken.push(region.textContent)).observe(region, {childList: true, characterData: true, subtree: true}); }"""
        )
        listed = page.get_by_role("region", name="Active").get_by_role("listitem")
        first_host, *others = (unique_hostname("burst") for _ in range(3))
        for hosts in ([first_host], others):  # two alerts together, within the same five seconds
            for seconds in (0, 1):
                at = (datetime.now(UTC) - timedelta(seconds=2 - seconds)).isoformat()
                link = {"primary_interface_speed_mbps": 1, "net_bytes_rx": seconds * 150_000, "net_bytes_tx": 0}
                ego.post_samples(*(make_sample(host, at=at, **link) for host in hosts))
            for host in hosts:
                expect(listed.filter(has_text=host)).to_be_visible()
        summed = page.get_by_role("status").filter(has_text="2 new critical alerts")
        expect(summed).to_have_count(1)
        first, second = page.evaluate("window.spoken")
        assert first.startswith("Critical: burst-")
        assert second == "2 new critical alerts"


def test_the_output_of_a_command_streams_while_it_runs_and_is_shown_as_text(hud: Open, ego: EgoServer) -> None:
    (agent,) = new_agents(ego, "stream", 1, "S1")
    with hud(f"#/console?to=host:{agent.hostname}") as page, page.expect_request("**/api/commands") as asked:
        run(page, "make all")
        (item,) = agent.claim()
        assert item["command"] == "make all"
        assert len(asked.value.headers["idempotency-key"]) == 32
        agent.prints(item["id"], "\x1b[31mred\x1b[0m " + MARKUP + "\n 10 %\r")
        log = page.get_by_role("log")
        expect(log).to_contain_text(f"red {MARKUP}")
        expect(log.get_by_text("red", exact=True)).to_have_css("color", "rgb(255, 110, 95)")
        agent.prints(item["id"], "100 %\n" + "".join(f"line {number}\n" for number in range(300)))
        expect(log.get_by_text("line 299")).to_be_in_viewport()  # the log scrolls to its end
        log.evaluate("(area) => area.scrollTo(0, 0)")
        agent.prints(item["id"], "the end\n")
        expect(log).to_contain_text("the end")
        expect(log.get_by_text("the end")).not_to_be_in_viewport()  # after a scroll up the log stays where it is
        page.get_by_role("searchbox", name="Find in").fill("LINE 29")
        expect(page.get_by_text("11 found")).to_be_visible()
        assert "10 %\n100 %" not in log.inner_text()
        agent.ends(item["id"], stdout="short\n", stderr="late words\n", code=3)
        expect(log).to_contain_text("late words")
        expect(page.get_by_text("exit 3")).to_be_visible()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download").click()
        assert Path(download.value.path()).read_text() == "short\nlate words\n"
        assert page.locator("#app img, #app script").count() == 0
        page.reload()  # the address names the run
        expect(log).to_contain_text("late words")


def test_a_run_on_many_hosts_needs_confirmation_groups_equal_outputs_and_retries_failures(
    hud: Open, ego: EgoServer
) -> None:
    agents = new_agents(ego, "many", 7, "M1")
    with hud("#/console?to=rack:M1") as page:
        run(page, "uptime")
        expect(page.get_by_role("dialog", name="Run on 7 hosts?")).to_contain_text(agents[6].hostname)
        page.keyboard.press("Enter")  # the focus is on the button that does nothing
        expect(page.get_by_role("dialog")).to_have_count(0)
        assert agents[0].claim(wait=0) == []
        page.get_by_role("button", name="Run on 7 hosts").click()
        page.get_by_role("dialog").get_by_role("button", name="Run on 7 hosts").click()
        for agent in agents[:6]:
            agent.runs_one("up 3 days\n")
        failed = agents[6].runs_one("no such program\n", code=127)
        expect(page.get_by_text("6 same, 1 differ")).to_be_visible()
        expect(page.get_by_role("log")).to_have_count(2)
        expect(page.get_by_role("region", name="Output of 6 hosts")).to_contain_text("up 3 days")
        page.get_by_role("button", name="Retry 1 that did not succeed").click()
        (again,) = agents[6].claim()
        assert ego.get(f"/api/commands/{again['id']}").json()["retryOf"] == failed
        page.get_by_role("button", name="Cancel", exact=True).click()
        expect(page.get_by_text("Cancelling").first).to_be_visible()
        assert ego.get(f"/api/commands/{again['id']}").json()["cancelRequested"]
        agents[6].ends(again["id"])


def test_the_console_says_why_no_agent_fetches_a_command(hud: Open, ego: EgoServer) -> None:
    off, silent = unique_hostname("off"), unique_hostname("silent")
    ego.post_samples(make_sample(off, command_policy="off"), make_sample(silent))
    with hud(f"#/console?to=host:{off},host:{silent},host:nobody") as page:
        run(page, "true")
        expect(page.get_by_text(f"The agent of {off} takes no commands")).to_be_visible()
        expect(page.get_by_text(f"The agent of {silent} has never asked")).to_be_visible()
        expect(page.get_by_text("No host named nobody has reported yet.")).to_be_visible()
        page.get_by_role("button", name="Cancel 3").click()
        expect(page.get_by_text("Cancelled").first).to_be_visible()


def test_a_lost_answer_does_not_create_a_second_command(hud: Open, ego: EgoServer) -> None:
    (agent,) = new_agents(ego, "lost", 1, "L1")
    keys: list[str] = []
    with hud(f"#/console?to=host:{agent.hostname}", lost=True) as page:

        def lose_the_first_answer(route: Route) -> None:
            if route.request.method != "POST":
                return route.continue_()
            keys.append(route.request.headers["idempotency-key"])
            answer = route.fetch()
            return route.abort("connectionrefused") if len(keys) == 1 else route.fulfill(response=answer)

        page.route("**/api/commands", lose_the_first_answer)
        run(page, "true")
        agent.runs_one("done\n")
        expect(page.get_by_role("log")).to_contain_text("done")
        expect(page.get_by_text("Sending")).to_have_count(0)
        assert len(keys) == 2
        assert keys[0] == keys[1]
        assert ego.get("/api/commands", params={"hostname": agent.hostname}).json()["total"] == 1


def test_the_console_is_used_by_keyboard_alone(hud: Open, ego: EgoServer) -> None:
    first, second = new_agents(ego, "keys", 2, "K1")
    with hud("#/table") as page:
        page.keyboard.press("c")
        command = page.get_by_label("Command", exact=True)
        expect(command).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.press("Shift+Tab")
        page.keyboard.type(second.hostname)
        expect(page.get_by_role("option").first).to_contain_text(second.hostname)
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.keyboard.type(first.hostname)
        page.keyboard.press("Enter")
        page.keyboard.press("Backspace")  # removes the last target
        page.keyboard.press("Tab")
        expect(command).to_be_focused()
        page.keyboard.type("echo one")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("echo two")
        page.keyboard.press("Enter")
        (item,) = second.claim()
        assert item["command"] == "echo one\necho two"
        second.ends(item["id"], "one\ntwo\n")
        expect(page.get_by_role("log")).to_contain_text("two")
        command.fill("not sent")
        page.keyboard.press("ArrowUp")
        expect(command).to_have_value("echo one\necho two")
        page.keyboard.press("End")
        page.keyboard.press("ArrowDown")
        expect(command).to_have_value("not sent")
        page.keyboard.press("Escape")
        expect(command).to_have_count(0)
        page.keyboard.press("c")
        expect(command).to_have_value("not sent")  # the typed text is kept


def test_a_command_that_needs_a_shell_is_told_before_it_is_sent_and_runs_as_a_script(hud: Open, ego: EgoServer) -> None:
    host = unique_hostname("shell")
    ego.post_samples(make_sample(host, command_policy="all"))
    agent = Agent(ego, host)
    with hud(f"#/console?to=host:{host}") as page:
        command = page.get_by_label("Command", exact=True)
        hint = page.get_by_role("status").filter(has_text="command_shell")
        as_script = page.get_by_role("button", name="Run as a shell script")
        command.press_sequentially("rm -r /a")
        expect(as_script).to_have_count(0)
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("ls 'b c'")
        expect(hint).to_contain_text("The agent will refuse this command: only a shell understands a line break")
        expect(hint).not_to_contain_text("policy")
        expect(hint).to_have_attribute("aria-live", "polite")
        expect(command).to_have_accessible_description(re.compile("only a shell understands a line break"))
        for _ in range(3):  # past the timeout and the button that runs it
            page.keyboard.press("Tab")
        expect(as_script).to_be_focused()
        page.keyboard.press("Enter")
        (item,) = agent.claim()
        assert shlex.split(item["command"]) == ["sh", "-c", "rm -r /a\nls 'b c'"]
        agent.ends(item["id"], "done\n")
        expect(page.get_by_role("log")).to_contain_text("done")
        expect(command).to_have_value(item["command"])
        expect(command).to_be_focused()
        expect(hint).to_have_count(0)


@pytest.mark.parametrize(
    ("policy", "said", "is_offered"),
    [
        ("all", None, True),
        ("allow_list", "decides by its command policy", True),
        (None, "decides by its command policy", True),
        ("off", "take no commands: their command_policy is off", False),
    ],
)
def test_a_script_is_offered_where_the_policy_of_the_host_may_allow_it(
    hud: Open, ego: EgoServer, policy: str | None, said: str | None, is_offered: bool
) -> None:
    host = unique_hostname("policy")
    ego.post_samples(make_sample(host, command_policy=policy))
    with hud(f"#/console?to=host:{host}") as page:
        page.get_by_label("Command", exact=True).fill("df | head")
        hint = page.get_by_role("status").filter(has_text="only a shell understands |")
        if said is None:
            expect(hint).not_to_contain_text("policy")
        else:
            expect(hint).to_contain_text(said)
        expect(page.get_by_role("button", name="Run as a shell script")).to_have_count(int(is_offered))


def test_what_runs_as_written_and_what_cannot_be_read_is_told_and_every_command_may_be_sent(
    hud: Open, ego: EgoServer
) -> None:
    (agent,) = new_agents(ego, "written", 1, "W1")
    with hud(f"#/console?to=host:{agent.hostname}") as page:
        command = page.get_by_label("Command", exact=True)
        command.fill("ls ~ *.log $HOME")
        expect(page.get_by_role("status").filter(has_text="~ * $HOME is passed on as written")).to_be_visible()
        command.fill("ls '~ *.log' \\$HOME")
        expect(page.get_by_role("status").filter(has_text="as written")).to_have_count(0)
        command.fill("echo it's")
        expect(page.get_by_role("status").filter(has_text="a quote is not closed")).to_be_visible()
        expect(page.get_by_role("button", name="Run as a shell script")).to_have_count(0)
        command.fill("echo hi > file")
        expect(page.get_by_role("status").filter(has_text="only a shell understands >")).to_be_visible()
        page.keyboard.press("Enter")  # the agent decides
        (item,) = agent.claim()
        assert item["command"] == "echo hi > file"
        agent.ends(item["id"], stderr="nothing was run", code=1)


MARKED = re.compile(r"^\[(\d+) bytes are left out here\]\n", re.MULTILINE)


def test_what_is_left_out_of_an_output_is_marked_on_screen_in_find_copy_and_download(hud: Open, ego: EgoServer) -> None:
    (agent,) = new_agents(ego, "marks", 1, "Q1")
    lines = "".join(f"{number:07}\n" for number in range(40_000))
    id = ego.post("/api/commands", json={"hostname": agent.hostname, "command": "seq"}).json()["id"]
    agent.claim()
    for at in range(0, len(lines), 16_000):  # more than EGO keeps of what is streamed
        agent.prints(id, lines[at : at + 16_000])
    with hud(f"#/console?run={id}", permissions=["clipboard-read", "clipboard-write"]) as page:

        def check_marks() -> None:
            expect(page.get_by_role("log")).to_contain_text("bytes are left out here]")
            page.get_by_role("searchbox", name="Find in").fill("bytes are left out here")
            expect(page.get_by_text("1 found")).to_be_visible()
            page.get_by_role("button", name="Copy the output").click()
            expect(page.get_by_text("Copied")).to_have_count(1)
            copy = page.evaluate("navigator.clipboard.readText()")
            with page.expect_download() as download:
                page.get_by_role("button", name="Download").click()
            saved = Path(download.value.path()).read_text()
            assert copy.rstrip() == saved.rstrip()
            (bytes_left_out,) = MARKED.findall(saved)
            rest = MARKED.sub("", saved)
            assert len(rest) + int(bytes_left_out) == len(lines)
            assert all(len(line) == 7 for line in rest.splitlines()), "only whole lines"
            expect(page.get_by_text("Copied")).to_have_count(0)

        check_marks()
        agent.ends(id, lines)
        expect(page.get_by_text("Part of the output is left out.")).to_be_visible()
        check_marks()


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_axe_finds_nothing_on_the_acting_screens(
    hud: Open, ego: EgoServer, viewport: dict[str, int], language: str
) -> None:
    rack = unique_hostname("X")
    agents = new_agents(ego, "axe", 2, rack)
    with hud(f"#/console?to=rack:{rack}&lang={language}", viewport=viewport) as page:
        page.locator("textarea").fill("df | head > file")
        expect(page.get_by_role("status").filter(has_text="command_shell")).to_be_visible()
        assert axe_violations(page) == [], "the hint about a shell"
        assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
        page.locator("textarea").fill("ls")
        page.keyboard.press("Enter")
        agents[0].runs_one("\x1b[34mfolder\x1b[0m \x1b[41mbad\x1b[0m\n")
        expect(page.get_by_role("log").first).to_contain_text("folder")
        for place in (page.url.partition("#")[2], "/host/full-01", "/alerts?by=host", "/table?sel=hot-01"):
            page.goto(f"{ego.url}/?probe=1#{place}{'&' if '?' in place else '?'}lang={language}")
            expect(page.locator("html")).to_have_attribute("lang", language)
            shown = page.locator("main :is(article, form, section, table)").filter(visible=True)
            expect(shown.first).to_be_visible()
            assert axe_violations(page) == [], place
            assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
