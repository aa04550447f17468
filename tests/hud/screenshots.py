"""Takes pictures of every screen at 5, 60, 1,000 and 5,000 hosts into `screenshots/`: `make screenshots`.

`ARGS="60 1000"` takes only these fleets. `ARGS="60 table phone"` takes only the pictures whose names begin so.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from tests.fleet import simulated_fleet
from tests.hud.browser import PHONE, launched
from tests.servers import ROOT, EgoServer, running_ego, wait_until

FOLDER = ROOT / "screenshots"
FLEETS = (5, 60, 1000, 5000)
WALL = {"width": 1920, "height": 1080}
USUAL = {"width": 1600, "height": 900}
SETTLE_SECONDS = 45  # until the scenario has its effect
DRAW_MS = 4000


@dataclass(frozen=True)
class Picture:
    """A place of the HUD; `{host}` becomes a host with an alert."""

    name: str
    place: str
    keys: tuple[str, ...] = ()
    context: dict[str, Any] = field(default_factory=dict)


PICTURES = (
    Picture("scene", "#/"),
    Picture("scene-ko", "#/?lang=ko"),
    Picture("scene-light", "#/", context={"color_scheme": "light"}),
    Picture("plan-light", "#/plan", context={"color_scheme": "light"}),
    Picture("host-light-ko", "#/host/{host}?lang=ko", context={"color_scheme": "light"}),
    Picture("compare", "#/compare", ("d",)),
    Picture("scene-selected", "#/?sel={host}", ("f",)),
    Picture("scene-cpu", "#/?colour=cpu"),
    Picture("table", "#/table"),
    Picture("table-selected-ko", "#/table?sel={host}&lang=ko"),
    Picture("host", "#/host/{host}"),
    Picture("alerts", "#/alerts"),
    Picture("console", "#/console"),
    Picture("history", "#/history?sel={host}"),
    Picture("history-group-ko", "#/history?range=15m&lang=ko"),
    Picture("history-table", "#/history?range=15m&sel={host}&as=table"),
    Picture("replay", "#/", ("r",)),
    Picture("replay-past-ko", "#/table?lang=ko", ("r", ",", ",")),
    Picture("wall", "#/?wall=1", context={"viewport": WALL}),
    Picture("menu-ko", "#/?lang=ko", ("m",)),
    Picture("keys", "#/table", ("?",)),
    Picture("phone", "#/", context={"viewport": PHONE, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}),
    Picture(
        "phone-host-ko", "#/?sel={host}&lang=ko", context={"viewport": PHONE, "has_touch": True, "is_mobile": True}
    ),
    Picture("phone-history", "#/history?sel={host}", context={"viewport": PHONE, "has_touch": True, "is_mobile": True}),
    Picture("phone-table", "#/table", context={"viewport": PHONE, "has_touch": True, "is_mobile": True}),
)


def main(words: list[str]) -> None:
    """Take the pictures that the arguments name."""
    sizes = [int(word) for word in words if word.isdigit()] or list(FLEETS)
    names = tuple(word for word in words if not word.isdigit()) or ("",)
    FOLDER.mkdir(exist_ok=True)
    with launched() as browser:
        for hosts in sizes:
            with tempfile.TemporaryDirectory() as folder, running_ego(Path(folder)) as ego:
                interval = max(2, hosts // 250)
                with simulated_fleet(ego, hosts=hosts, interval=interval, scenario="rack-overheats"):
                    wait_until(lambda: known(ego) >= hosts, 120, every=1, what=f"{hosts} hosts")  # noqa: B023
                    time.sleep(SETTLE_SECONDS)
                    host = in_trouble(ego)
                    for command in ("uptime", "df -h", "free -m"):
                        ego.post("/api/commands", json={"hostname": host, "command": command})
                    for picture in PICTURES:
                        if picture.name.startswith(names):
                            take(browser, ego, picture, host, FOLDER / f"{hosts}-{picture.name}.png")


def known(ego: EgoServer) -> int:
    return int(ego.get("/api/hosts").json()["total"])


def in_trouble(ego: EgoServer) -> str:
    """The hostname of the newest alert, or of any host."""
    alerts = ego.get("/api/alerts/active").json()
    return str(alerts[0]["hostname"] if alerts else ego.get("/api/hosts").json()["items"][-1]["hostname"])


def take(browser: Browser, ego: EgoServer, picture: Picture, host: str, file: Path) -> None:
    """Take one picture when the page has its data and no longer moves."""
    context = browser.new_context(**({"viewport": USUAL, "locale": "en-US", "color_scheme": "dark"} | picture.context))
    page: Page = context.new_page()
    page.goto(f"{ego.url}/?probe=1{picture.place.format(host=host)}")  # the probe keeps the full drawing quality
    page.locator("[data-is-ready=true]").wait_for(timeout=30_000)
    page.wait_for_timeout(DRAW_MS)
    for key in picture.keys:
        page.keyboard.press(key)
        page.wait_for_timeout(DRAW_MS)
    page.screenshot(path=file)
    context.close()
    print(file.relative_to(ROOT))


if __name__ == "__main__":
    main(sys.argv[1:])
