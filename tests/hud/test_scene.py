"""The 3D scene in a real browser with a real EGO. Each test fails if the canvas stays blank."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypedDict

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.builders import make_sample, unique_hostname
from tests.hud.browser import axe_violations, needs_browser, needs_hud, opened, without_webgl
from tests.servers import EgoServer, wait_until

pytestmark = [needs_browser, needs_hud]
Stage = Callable[..., AbstractContextManager[Page]]
# Small, because the CPU draws every pixel.
WINDOW = {"width": 800, "height": 520}


class Seen(TypedDict):
    colours: int
    ok: int
    warning: int
    critical: int


@pytest.fixture
def stage(browser: Browser, fleet: EgoServer) -> Stage:
    """Open the fleet's 3D scene and wait until it shows data: `with stage("?sel=full-01") as page`."""

    @contextmanager
    def open_at(place: str = "", motion: str = "reduce", **context: Any) -> Iterator[Page]:
        url = f"{fleet.url}/?probe=1#/{place}"
        with opened(browser, url, viewport=WINDOW, reduced_motion=motion, **context) as page:
            # Not wait_for_function: it uses eval, which the page's Content-Security-Policy forbids.
            wait_until(lambda: page.evaluate("window.__ego?.stage?.stats().draws > 1"), 20, what="the scene is drawn")
            yield page

    return open_at


def pixels(page: Page, around: dict[str, float] | None = None, reach: int = 12) -> str:
    """A PNG, in base64, of the canvas, or of the square around a point of the page."""
    box = page.locator("[data-stage]").bounding_box()
    assert box is not None
    clip = box
    if around is not None:
        clip = {"x": around["x"] - reach, "y": around["y"] - reach, "width": 2 * reach, "height": 2 * reach}
    return base64.b64encode(page.screenshot(clip=clip, animations="disabled")).decode()  # type: ignore[arg-type]


def seen(page: Page, png: str) -> Seen:
    """The number of colours in a picture (4 bits a channel), and of pixels in the colour of each state."""
    found: Seen = page.evaluate(
        """async (png) => {
          const picture = new Image();
          picture.src = `data:image/png;base64,${png}`;
          await picture.decode();
          const canvas = new OffscreenCanvas(picture.width, picture.height);
          const pen = canvas.getContext('2d');
          pen.drawImage(picture, 0, 0);
          const { data } = pen.getImageData(0, 0, picture.width, picture.height);
          const colours = new Set();
          const count = { ok: 0, warning: 0, critical: 0 };
          for (let at = 0; at < data.length; at += 4) {
            const [red, green, blue] = [data[at], data[at + 1], data[at + 2]];
            colours.add(((red >> 4) << 8) | ((green >> 4) << 4) | (blue >> 4));
            if (blue > 120 && blue > red * 2 && blue > green) count.ok++;
            if (red > 150 && green > red * 0.6 && green < red * 0.9 && blue < red * 0.5) count.warning++;
            if (red > 120 && green < red * 0.45 && blue < red * 0.4) count.critical++;
          }
          return { colours: colours.size, ...count };
        }""",
        png,
    )
    return found


def place_of(page: Page, hostname: str) -> dict[str, float]:
    place: dict[str, float] | None = page.evaluate("(name) => window.__ego.stage.screen(name)", hostname)
    assert place is not None, f"{hostname} is not in view"
    return place


def test_the_scene_shows_the_states_within_its_budget_and_a_click_selects(stage: Stage) -> None:
    with stage() as page:
        scene = seen(page, pixels(page))
        assert scene["colours"] > 64
        assert min(scene["ok"], scene["warning"], scene["critical"]) > 20
        stats: dict[str, Any] = page.evaluate("window.__ego.stage.stats()")
        assert 0 < stats["drawCalls"] <= 12
        assert 0 < stats["triangles"] <= 60_000
        place = place_of(page, "full-01")
        page.mouse.click(place["x"], place["y"])
        expect(page.get_by_role("heading", name="full-01")).to_be_visible()
        expect(page).to_have_url(re.compile("sel=full-01"))
        assert axe_violations(page) == []


def test_a_delta_recolours_a_host_and_builds_no_new_geometry(stage: Stage, fleet: EgoServer) -> None:
    host = unique_hostname("calm")
    fleet.post_samples(make_sample(host, cpu_percent=20, rack="R3"))
    with stage(f"?sel={host}") as page:
        place, probe = place_of(page, host), page.evaluate("window.__ego.stage.probe()")
        assert seen(page, pixels(page, place))["warning"] == 0
        fleet.post_samples(make_sample(host, cpu_percent=95, rack="R3"))
        wait_until(lambda: seen(page, pixels(page, place))["warning"] > 5)
        assert place_of(page, host) == pytest.approx(place)
        assert page.evaluate("window.__ego.stage.probe()") == probe


def draws(page: Page) -> int:
    """How often the scene was drawn so far."""
    return int(page.evaluate("window.__ego.stage.stats().draws"))


def settle(page: Page) -> None:
    """Wait until the scene was not drawn for half a second: its opening animation has ended."""
    seen_at = 0.0

    def is_settled() -> bool:
        nonlocal count, seen_at
        if draws(page) != count:
            count, seen_at = draws(page), time.monotonic()
        return time.monotonic() - seen_at > 0.5

    count = -1
    wait_until(is_settled, 20, what="the scene is at rest")


def test_the_scene_is_animated_only_without_reduced_motion(stage: Stage) -> None:
    # The links of the fleet carry traffic, so they are animated.
    with stage() as page:
        settle(page)
        frames, first = page.evaluate("window.__ego.stats().frames"), pixels(page)
        wait_until(lambda: page.evaluate("window.__ego.stats().frames") > frames + 1)
        assert seen(page, first) == seen(page, pixels(page))
        settle(page)  # with motion it would be drawn for ever
    with stage(motion="no-preference") as page:
        first = pixels(page)
        wait_until(lambda: pixels(page) != first)


def test_the_table_replaces_the_scene_while_the_webgl_context_is_lost(stage: Stage) -> None:
    with stage() as page:
        page.evaluate("window.__ego.stage.loseContext()")
        expect(page.get_by_role("table")).to_be_visible()
        page.evaluate("window.__ego.stage.restoreContext()")
        expect(page.get_by_role("table")).to_have_count(0)
        wait_until(lambda: seen(page, pixels(page))["ok"] > 20)


def test_the_table_replaces_the_scene_without_webgl(browser: Browser, fleet: EgoServer) -> None:
    with without_webgl(browser) as flat, opened(flat, f"{fleet.url}/#/", flat=True) as page:
        expect(page.get_by_role("table")).to_be_visible()
        expect(page.get_by_text("This browser has no WebGL")).to_be_visible()
        page.get_by_role("button", name="hot-01", exact=True).click()
        expect(page.get_by_role("heading", name="hot-01")).to_be_visible()
        assert axe_violations(page) == []


def test_keys_turn_zoom_and_fit_the_scene_and_a_box_selects(stage: Stage) -> None:
    with stage() as page:
        start = place_of(page, "web-05")
        page.locator("[data-stage]").focus()
        for key in ("ArrowLeft", "+", "Shift+ArrowUp"):
            before = place_of(page, "web-05")
            page.keyboard.press(key)
            wait_until(lambda before=before: place_of(page, "web-05") != before)  # type: ignore[misc]
        page.keyboard.press("0")
        wait_until(lambda: place_of(page, "web-05") == pytest.approx(start, abs=1))
        page.keyboard.press("b")
        expect(page.locator(".boxing")).to_be_visible()
        page.mouse.move(start["x"] - 60, start["y"] - 120)
        page.mouse.down()
        page.mouse.move(start["x"] + 60, start["y"] + 120, steps=3)
        page.mouse.up()
        expect(page).to_have_url(re.compile(r"sel=[^&]*web-05"))
        assert "%2C" in page.url


def test_axe_finds_nothing_on_the_stage_in_korean(stage: Stage) -> None:
    with stage("?sel=full-01", locale="ko-KR") as page:
        assert axe_violations(page) == []
