"""Runs a function as another account of this machine, in a child process. Needs root."""

from __future__ import annotations

import http.client
import json
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

OTHER, ANOTHER = 65534, 65533  # accounts that own nothing
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another account")


def as_account(uid: int, work: Callable[[], Any]) -> Any:
    """Run `work` as this account and return its result, through JSON. It must not import: the account may not read our code."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            os.write(writer, json.dumps(work()).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, "rb") as answer:
        text = answer.read()
    assert os.waitpid(child, 0)[1] == 0, "the child failed; its error stands above"
    return json.loads(text)


@dataclass(frozen=True)
class Reply:
    """An answer of EGO."""

    status: int
    text: str

    @property
    def detail(self) -> str:
        return str(json.loads(self.text)["detail"])


def ask(uid: int, port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
    """Send one request as an account. Returns the answer."""

    def request() -> list[Any]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        sent = body if isinstance(body, str | None) else json.dumps(body)
        connection.request(method, path, sent, {"Content-Type": "application/json"} | (headers or {}))
        answer = connection.getresponse()
        return [answer.status, answer.read().decode()]

    return Reply(*as_account(uid, request))
