"""The browser of these tests: Debian's Chromium, which draws WebGL in software."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from mirror_stage.hud.build import BUILD
from tests.servers import ROOT

CHROMIUM = which("chromium") or which("chromium-browser") or which("google-chrome")
MODULES = ROOT / "mirror_stage/hud/web/node_modules"
AXE = MODULES / "axe-core/axe.min.js"
JSQR = MODULES / "jsqr/dist/jsQR.js"
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1440, "height": 900}
# These flags give WebGL without a GPU. They are only here, because Chrome plans to retire SwiftShader.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# The driver's hint that reading a canvas makes the GPU wait. The tests read canvases.
_OF_THE_DRIVER = re.compile(r"GL Driver Message .*GPU stall due to ReadPixels")
_OF_NO_WEBGL = re.compile(r"WebGL")  # the messages of three.js and of the HUD that there is no WebGL
# A sign-in replaces a socket that may still be connecting.
_OF_A_REFUSAL = re.compile(r"responded with a status of 4\d\d|WebSocket is closed before the connection is established")
_OF_THE_NETWORK = re.compile(r"ERR_CONNECTION_(REFUSED|RESET)|ERR_INTERNET_DISCONNECTED|^WebSocket connection to")
# `make check` builds the HUD and .ci/run installs Chromium, so that CI never skips.
needs_browser = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"), reason="chromium is not installed: apt install chromium"
)
needs_hud = pytest.mark.skipif(not BUILD.is_there and not os.environ.get("CI"), reason="the HUD is not built: make run")


@contextmanager
def launched() -> Iterator[Browser]:
    """A running browser."""
    with (
        sync_playwright() as playwright,
        _closed(playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)) as one,
    ):
        yield one


@contextmanager
def without_webgl(browser: Browser) -> Iterator[Browser]:
    """A second browser, without WebGL."""
    flags = [*FLAGS, "--disable-3d-apis"]
    with _closed(browser.browser_type.launch(executable_path=CHROMIUM, args=flags)) as flat:
        yield flat


@contextmanager
def _closed(browser: Browser) -> Iterator[Browser]:
    try:
        yield browser
    finally:
        browser.close()


@contextmanager
def opened(
    browser: Browser,
    url: str,
    *,
    origin: str = "",
    lost: bool = False,
    flat: bool = False,
    locked: bool = False,
    **context: Any,
) -> Iterator[Page]:
    """A page that has shown its first data, or with `locked` one that may ask for a sign-in first.

    Afterwards it checks that no request went to another origin, and that the console has no errors or warnings. `lost`
    allows messages about a lost network, `flat` about missing WebGL, `locked` about refused requests.
    """
    inside = browser.new_context(**({"viewport": DESK, "locale": "en-US", "color_scheme": "dark"} | context))
    page = inside.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: message.type in {"error", "warning"} and said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    try:
        page.goto(url)
        if not locked:
            page.locator("[data-is-ready=true]").wait_for(timeout=30_000)  # it has its data; it may not be drawn yet
        yield page
        home = urlsplit(origin or url).netloc
        assert {urlsplit(one).netloc for one in asked if not one.startswith(("data:", "blob:"))} == {home}
        foreseen = [_OF_THE_DRIVER, *[_OF_THE_NETWORK] * lost, *[_OF_NO_WEBGL] * flat, *[_OF_A_REFUSAL] * locked]
        assert [text for text in said if not any(pattern.search(text) for pattern in foreseen)] == []
    finally:
        inside.close()


def axe_violations(page: Page) -> list[str]:
    """What axe finds on this page against WCAG 2.2 AA: rule and element, one line each."""
    if not AXE.exists() and not os.environ.get("CI"):
        pytest.skip("axe-core is not installed: make hud-check")
    page.evaluate(Path(AXE).read_text())
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = page.evaluate("(tags) => axe.run({runOnly: tags, resultTypes: ['violations']})", tags)
    return [f"{rule['id']}: {node['html'][:160]}" for rule in found["violations"] for node in rule["nodes"]]


_READ_QR = """async (png) => {
  const bytes = Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes]));
  const pen = new OffscreenCanvas(image.width, image.height).getContext('2d');
  pen.drawImage(image, 0, 0);
  const { data } = pen.getImageData(0, 0, image.width, image.height);
  return jsQR(data, image.width, image.height, { inversionAttempts: 'dontInvert' })?.data ?? null;
}"""


def text_of_qr(page: Page, shown: Locator) -> str | None:
    """What a scanner reads that sees this element; None if it finds no QR code there."""
    if not JSQR.exists() and not os.environ.get("CI"):
        pytest.skip("jsqr is not installed: make hud-check")
    page.evaluate(JSQR.read_text())
    found: str | None = page.evaluate(_READ_QR, base64.b64encode(shown.screenshot()).decode())
    return found
