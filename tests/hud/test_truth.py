"""What the HUD says is true: the worst is seen first, nothing happens by accident, the past shows what was."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.builders import make_sample
from tests.hud.browser import PHONE, needs_browser, needs_hud, opened
from tests.hud.test_scene import WINDOW, pixels, place_of
from tests.servers import EgoServer, running_ego, wait_until

pytestmark = [needs_browser, needs_hud]
Open = Callable[..., AbstractContextManager[Page]]
# Silent hosts are offline within seconds; those that say that they report once an hour are not.
HASTY = {"MIRROR_STAGE_STALE_AFTER_SECONDS": "2", "MIRROR_STAGE_OFFLINE_AFTER_SECONDS": "4"}
DEAD = [f"dead-{number:02}" for number in range(1, 7)]
ALIVE = [f"alive-{number:02}" for number in range(1, 5)]


def seldom(hostname: str, **more: Any) -> dict[str, Any]:
    """A sample of a host that may be silent for hours."""
    return make_sample(hostname, interval_seconds=3600, **more)


@pytest.fixture(scope="module")
def ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """Rack B1 is dead; rack A1 lives, and `hot-01` in it has a warning; the agent of `off-01` takes no commands."""
    with running_ego(tmp_path_factory.mktemp("truth"), HASTY) as ego:
        dead = [make_sample(host, rack="B1") for host in DEAD]
        alive = [seldom(host, rack="A1") for host in ALIVE]
        hot = seldom("hot-01", rack="A1", cpu_percent=32, cpu_temperature=96)
        off = seldom("off-01", rack="A1", command_policy="off")
        assert ego.post_samples(*dead, *alive, hot, off).status_code == 202
        for host in (*DEAD, *ALIVE, "hot-01", "off-01"):
            assert ego.get(f"/api/commands/pending/{host}").status_code == 200
        wait_until(lambda: ego.get("/api/hosts?status=offline").json()["total"] == len(DEAD), what="a rack is dead")
        wait_until(lambda: len(ego.get("/api/alerts/active").json()) == len(DEAD) + 1, what="its alerts")
        yield ego


@pytest.fixture
def hud(browser: Browser, ego: EgoServer) -> Open:
    """Open a place of the HUD: `with hud("#/alerts") as page`."""

    def open_at(place: str, **context: Any) -> AbstractContextManager[Page]:
        return opened(browser, f"{ego.url}/?probe=1{place}", **context)

    return open_at


def has_focus(page: Page) -> str:
    """The words of the element that has the focus."""
    return str(page.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent.trim()"))


def test_the_dead_are_the_worst_in_counters_badge_alerts_and_scene(hud: Open) -> None:
    with hud("#/", viewport={"width": 1280, "height": 720}, reduced_motion="reduce") as page:
        counters = page.locator("header .counters button")
        expect(counters).to_have_text(
            [re.compile(text) for text in ("^0", "^6 Offline", "^1 Warning", "^0", "^12 Hosts")]
        )
        badge = page.locator("header [data-worst]")
        expect(badge).to_have_attribute("data-worst", "offline")
        expect(badge).to_have_css("background-color", "rgb(255, 92, 138)")
        wait_until(lambda: page.evaluate("window.__ego?.stage?.stats().draws > 1"), 20, what="the scene is drawn")
        dead, alive = (loudness(page, place_of(page, host)) for host in ("dead-03", "alive-02"))
        assert dead > 2 * alive, (dead, alive)
        page.keyboard.press("a")
        expect(page.locator("main .counts li")).to_have_text(["6 Offline", "1 Warning"])
        expect(page).to_have_title(re.compile(r"^\(6\) "))
        page.keyboard.press("w")
        walls = page.locator("[data-wall] [data-counter]")
        expect(walls).to_have_count(5)
        assert [one.get_attribute("data-counter") for one in walls.all()] == [
            "critical", "offline", "warning", "stale", "total",
        ]  # fmt: skip


def loudness(page: Page, around: dict[str, float]) -> int:
    """The light around a point of the scene: the sum of the brightest channel of each pixel."""
    return int(
        page.evaluate(
            """async (png) => {
              const picture = new Image();
              picture.src = `data:image/png;base64,${png}`;
              await picture.decode();
              const canvas = new OffscreenCanvas(picture.width, picture.height);
              const pen = canvas.getContext('2d');
              pen.drawImage(picture, 0, 0);
              const { data } = pen.getImageData(0, 0, picture.width, picture.height);
              let sum = 0;
              for (let at = 0; at < data.length; at += 4) sum += Math.max(data[at], data[at + 1], data[at + 2]);
              return sum;
            }""",
            pixels(page, around, reach=8),
        )
    )


def test_a_command_goes_to_nobody_by_accident(hud: Open) -> None:
    with hud("#/console") as page:
        targets = page.get_by_role("combobox")
        command = page.get_by_label("Command", exact=True)
        place = command.bounding_box()
        targets.press_sequentially("A1")
        targets.press("Enter")
        expect(page.get_by_role("button", name="Remove Rack A1")).to_be_visible()
        expect(page.get_by_role("option")).to_have_count(0)
        expect(targets).to_be_focused()
        assert place is not None
        page.mouse.click(place["x"] + 60, place["y"] + place["height"] / 2 + 1)
        expect(command).to_be_focused()
        expect(page.get_by_role("button", name=re.compile("^Remove "))).to_have_count(1)
        # Of the six hosts of the rack one takes no commands.
        expect(page.get_by_role("button", name="Run on 5 hosts")).to_be_visible()
        expect(page.get_by_text("Left out: 1 host that cannot run it now: off-01 (takes no commands)")).to_be_visible()
        targets.press_sequentially("dead-01")
        expect(page.get_by_role("option")).to_have_count(2)
        covered = page.evaluate(
            """() => ['textarea', '.timeout input', '.button.primary'].filter((one) => {
                const element = document.querySelector(`form ${one}`), box = element.getBoundingClientRect();
                return !element.contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2));
            })"""
        )
        assert covered == []
        targets.press("Enter")
        expect(page.get_by_role("button", name="Run on 5 hosts")).to_be_visible()
        expect(page.get_by_text("dead-01 (offline)")).to_be_visible()


def test_on_a_phone_the_suggestions_cover_nothing(hud: Open) -> None:
    with hud("#/console", viewport=PHONE, has_touch=True) as page:
        page.get_by_role("combobox").tap()
        expect(page.get_by_role("option")).to_have_count(0)
        page.get_by_role("combobox").fill("a")
        last = page.get_by_role("option").last.bounding_box()
        command = page.get_by_label("Command", exact=True).bounding_box()
        assert last is not None
        assert command is not None
        assert last["y"] + last["height"] <= command["y"]
        critical = page.locator("header .counters button").first
        expect(critical).to_be_in_viewport(ratio=1)
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_a_number_in_the_colour_of_a_warning_is_what_the_warning_is_about(hud: Open) -> None:
    with hud("#/", viewport=PHONE, has_touch=True) as page:
        page.get_by_role("tab", name=re.compile("^Hosts")).tap()
        hot = page.get_by_role("button", name=re.compile("hot-01"))
        expect(hot.locator(".value")).to_have_text("Temperature 96 °C")
        expect(hot.locator(".value")).to_have_class(re.compile("warning"))
        page.get_by_role("link", name="Table").tap()
        page.set_viewport_size({"width": 1440, "height": 900})
        expect(page.locator(".summary li").filter(has_text="Temperature")).to_contain_text("96 °C (1 of 12)")
        expect(page.get_by_role("columnheader", name="Fullest disk")).to_be_visible()


def moment_after(instant: str) -> str | None:
    """A whole second that has passed and is after an instant, as a link says it; None until there is one."""
    second = datetime.now(UTC) - timedelta(seconds=1)
    return f"{second:%Y-%m-%dT%H:%M:%SZ}" if f"{second:%Y-%m-%dT%H:%M:%S}" > instant[:19] else None


def test_the_past_shows_what_was_and_says_what_it_is(hud: Open, ego: EgoServer) -> None:
    alert = {"hostname": "alive-01", "metric": "cpu_load_high"}
    ego.post("/api/commands", json={"hostname": "alive-02", "command": "echo before"})
    ego.post_samples(seldom("alive-01", rack="A1", cpu_percent=97))
    (fired,) = wait_until(lambda: ego.get("/api/alerts", params=alert | {"status": "active"}).json()["items"])
    at = wait_until(lambda: moment_after(fired["createdAt"]), what="a whole second passes")
    ego.post_samples(seldom("alive-01", rack="A1", cpu_percent=3))
    wait_until(lambda: ego.get("/api/alerts", params=alert | {"status": "resolved"}).json()["total"], what="it ends")
    ego.post("/api/commands", json={"hostname": "alive-02", "command": "echo after"})
    with hud(f"#/table?at={at}") as page:
        slider = page.get_by_role("slider", name="Moment shown")
        expect(slider).to_be_visible()  # a link opens its strip
        shown = slider.input_value()
        page.locator("tbody th button").first.focus()
        page.keyboard.press("Home")
        assert slider.input_value() == shown, "Home is the list's"
        ends = page.locator(".ends time")
        expect(page.locator(".ends .bucket")).to_contain_text("online")
        edges = ends.all_inner_texts()
        then = page.url
        slider.press("Home")
        expect(page.get_by_role("heading", name="EGO knew no host yet")).to_be_visible()
        expect(page).not_to_have_url(then)  # the address follows a moment later, and would undo the next one
        assert ends.all_inner_texts() == edges, "the strip stands still"
        expect(page.locator("tbody tr")).to_have_count(0)
        page.evaluate(f"location.hash = '#/alerts?at={at}'")
        expect(page.get_by_role("region", name="Active").get_by_text("alive-01")).to_be_visible()
        expect(page.get_by_role("region", name="Resolved").get_by_text("No resolved alerts yet.")).to_be_visible()
        page.evaluate(f"location.hash = '#/console?at={at}'")
        expect(page.get_by_role("button", name="echo before")).to_contain_text("Waiting")
        expect(page.get_by_role("button", name="echo after")).to_have_count(0)
        page.evaluate("location.hash = '#/table?at=yesterday&colour=loud&sel=web-1'")
        expect(page.locator("[data-banner=unread]")).to_contain_text("Not understood: at=yesterday, colour=loud")
        page.locator("[data-banner=unread]").get_by_role("button").click()
        expect(page.locator("[data-banner=unread]")).to_have_count(0)


def test_a_search_is_of_every_screen_and_enter_goes_there(hud: Open) -> None:
    with hud("#/history?q=alive&range=15m", viewport=WINDOW, reduced_motion="reduce") as page:
        expect(page.locator(".subject")).to_contain_text("4 hosts")
        page.evaluate("location.hash = '#/alerts?q=dead'")
        expect(page.get_by_role("region", name="Active")).to_contain_text(re.compile("6 of [78]"))
        page.evaluate("location.hash = '#/?q=name:dead-0?'")
        labels = page.locator(".scene-label.chosen")
        expect(labels.first).to_contain_text("dead-0")  # those whose face is too small to read, or is hidden
        page.get_by_role("searchbox").fill("dead-03")
        before = place_of(page, "dead-03")
        page.get_by_role("searchbox").press("Enter")
        expect(page).to_have_url(re.compile("sel=dead-03"))
        wait_until(lambda: place_of(page, "dead-03") != before, what="the camera flies there")


def test_the_focus_goes_back_and_escape_closes_the_innermost_thing_only(hud: Open) -> None:
    with hud("#/console?to=rack:A1") as page:
        menu = page.get_by_role("button", name="Menu", exact=True)
        menu.press("Enter")
        expect(page.get_by_role("dialog", name="Menu")).to_be_visible()
        page.keyboard.press("t")  # the page behind a dialog rests
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(menu).to_be_focused()
        command = page.get_by_label("Command", exact=True)
        command.fill("uptime")
        expect(page.get_by_role("button", name="Run on 5 hosts")).to_be_visible()
        command.press("Enter")
        page.get_by_role("combobox").press_sequentially("B")
        page.keyboard.press("Escape")  # closes the list, not the console
        expect(page.get_by_role("option")).to_have_count(0)
        expect(page).to_have_url(re.compile("#/console"))
        page.get_by_role("button", name="Stop all commands").press("Enter")
        expect(page.get_by_role("dialog", name="Stop all commands?")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(page).to_have_url(re.compile("#/console"))
        expect(page.get_by_role("button", name="Stop all commands")).to_be_focused()


def test_arrows_home_and_end_go_through_rows_which_stay_in_place_meanwhile(hud: Open, ego: EgoServer) -> None:
    with hud("#/table?sort=-cpuLoad") as page:
        names = page.locator("tbody th[scope=row]")
        first = names.first.inner_text()
        names.first.get_by_role("button").focus()
        page.keyboard.press("ArrowDown")
        assert has_focus(page) == names.nth(1).inner_text()
        page.keyboard.press("End")
        assert has_focus(page) == names.last.inner_text()
        page.keyboard.press("Home")
        assert has_focus(page) == first
        names.nth(2).hover()
        page.keyboard.press("Escape")
        before = names.all_inner_texts()
        ego.post_samples(seldom("alive-04", rack="A1", cpu_percent=75))
        expect(page.get_by_role("row").filter(has_text="alive-04")).to_contain_text("75")
        page.wait_for_timeout(1_500)  # longer than the table waits before it sorts again
        assert names.all_inner_texts() == before
        page.mouse.move(5, 5)
        page.locator("header .chip").focus()
        expect(names.first).to_have_text("alive-04")


def test_an_alert_is_acknowledged_with_a_key_and_no_longer_with_its_button(hud: Open) -> None:
    with hud("#/alerts") as page:
        row = page.locator("li[data-alert]").filter(has_text="hot-01")
        row.get_by_role("link", name="hot-01", exact=True).focus()
        page.keyboard.press("y")
        expect(row).to_contain_text("acknowledged until")
        row.get_by_role("button", name="Acknowledge no longer").click()
        expect(row).not_to_contain_text("acknowledged until")
        expect(row.get_by_role("button", name="Acknowledge", exact=True)).to_have_attribute("aria-pressed", "false")


def test_a_rack_that_went_silent_is_one_incident_that_leads_to_its_moment(hud: Open, ego: EgoServer) -> None:
    with hud("#/alerts") as page:
        active = page.get_by_role("region", name="Active")
        silent = active.locator("[data-incident]").filter(has_text="Not reporting")
        expect(silent).to_have_count(1)
        silent.get_by_role("button", name=re.compile("^Show the hosts of")).click()
        for host in DEAD:
            expect(silent.get_by_role("link", name=host, exact=True)).to_be_visible()
        silent.get_by_role("button", name=re.compile(r"\d\d:\d\d:\d\d")).first.click()
        expect(page).to_have_url(re.compile("at=20"))
        expect(page.locator(".shell.past")).to_be_visible()


def test_a_moment_is_gone_to_as_one_types_it(hud: Open) -> None:
    with hud("#/table?lang=ko") as page:
        page.keyboard.press("r")
        field = page.get_by_role("textbox", name="시점으로 이동")
        field.fill("곧")
        field.press("Enter")
        expect(page.locator("#replay-wrong")).to_contain_text("예:")
        field.fill("1분 전")
        field.press("Enter")
        expect(page.locator(".shell.past")).to_be_visible()
        expect(page).to_have_url(re.compile("at=20"))


@pytest.mark.parametrize("place", ["#/alerts", "#/host/hot-01", "#/history"])
def test_the_strip_of_time_stands_under_the_screen_that_is_open(hud: Open, place: str) -> None:
    with hud(place) as page:
        page.keyboard.press("r")
        slider = page.get_by_role("slider", name="Moment shown")
        expect(slider).to_be_visible()
        expect(page).to_have_url(re.compile(re.escape(place)))
        slider.press("PageDown")
        expect(page.locator(".shell.past")).to_be_visible()
        page.keyboard.press("l")
        expect(page.locator(".shell.past")).to_have_count(0)
        page.keyboard.press("r")
        expect(slider).to_have_count(0)
