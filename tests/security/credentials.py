"""Links, tokens and sessions of a real EGO, for tests that need somebody who may ask."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import requests

import mirror_stage.app  # noqa: F401  # each command is a fork, and need not import it again
from tests.command_line import forked
from tests.servers import EgoServer

COOKIE = "mirror-stage-session"
PASSWORD = "correct horse battery"


def run(ego: EgoServer, words: str, status: int = 0, typed: str = "") -> str:
    """What a command prints, at EGO's own machine."""
    ended = forked(words.split(), cwd=ego.folder, env=ego.environment, typed=typed)
    assert ended.returncode == status, ended.stderr
    return ended.stdout + ended.stderr if status else ended.stdout


def token_of(ego: EgoServer, words: str) -> tuple[str, str]:
    """The id and the text of a new token."""
    made = json.loads(run(ego, f"tokens create {words} --json"))
    return made["id"], made["token"]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@dataclass
class Browser:
    """Somebody who has signed in."""

    ego: EgoServer
    cookie: str
    page: str
    me: dict[str, Any]

    @property
    def headers(self) -> dict[str, str]:
        return {"Cookie": f"{COOKIE}={self.cookie}", "X-Mirror-Stage-Page": self.page}

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, self.ego.url + path, headers=self.headers, timeout=30, **options)


def signed_in(ego: EgoServer, shown: dict[str, str]) -> Browser:
    answer = ego.post("/api/session", json=shown)
    assert answer.status_code == 201, answer.text
    return Browser(ego, answer.cookies[COOKIE], answer.json()["page"], answer.json()["me"])


def by_link(ego: EgoServer, words: str = "") -> Browser:
    link = run(ego, f"admin link {words}").strip()
    assert link.startswith(f"{ego.url}/#k=")
    return signed_in(ego, {"link": link.partition("#k=")[2]})
