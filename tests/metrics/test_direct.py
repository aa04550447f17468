"""A batch gets the same answer whether it is answered before Flask or by the route."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import Client

from mirror_stage.access.domain import ADMIN, LOCAL, Actor
from mirror_stage.metrics.direct import DirectIngest, is_usual
from tests.builders import make_sample
from tests.servers import EgoServer, running_ego

JSON = "application/json"
BODIES: dict[str, bytes] = {
    "one sample": orjson.dumps({"samples": [make_sample("direct-01")]}),
    "the same sample again": orjson.dumps(
        {"samples": [make_sample("direct-02", timestamp="2026-01-01T00:00:00Z")] * 2}
    ),
    "a sample that lost a diagnostic": orjson.dumps({"samples": [make_sample("direct-03", disks=[{}])]}),
    "one bad sample of two": orjson.dumps(
        {"samples": [make_sample("direct-04"), make_sample("direct-05", cpu_load="hot")]}
    ),
    "no samples": orjson.dumps({"samples": []}),
    "no JSON": b"{samples",
    "not UTF-8": b'{"samples": "\xff"}',
    "an empty body": b"",
    "a list": b"[]",
}


@pytest.fixture(scope="module")
def ego(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgoServer]:
    """One EGO: the two ways part and meet before the database."""
    with running_ego(tmp_path_factory.mktemp("ego")) as server:
        yield server


def both(ego: EgoServer, body: bytes, **headers: str) -> tuple[requests.Response, requests.Response]:
    """The answers of the direct way and of the route. A parameter of the content type makes a request unusual."""
    kinds = (JSON, f"{JSON}; charset=utf-8")
    direct, route = (
        ego.post("/api/metrics/batch", data=body, headers={"Content-Type": kind, **headers}) for kind in kinds
    )
    return direct, route


def comparable(answer: requests.Response) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and members, without what changes from request to request: times, lengths, jitter, repeats."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    members = answer.json()
    for moving in ("receivedAt", "duplicates"):
        members.pop(moving, None)
    for moving in ("date", "content-length", "retry-after"):
        headers.pop(moving, None)
    return answer.status_code, headers, members


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_the_direct_way_and_the_route_give_the_same_answer(ego: EgoServer, body: bytes) -> None:
    direct, route = both(ego, body)
    assert comparable(direct) == comparable(route)


@settings(max_examples=40, deadline=None)
@given(
    body=st.binary(max_size=40)
    | st.sampled_from([b'{"samples": [%s]}' % each for each in (b"1", b"null", b"{}", b"[]", b"NaN")])
)
def test_any_body_gets_the_same_answer(ego: EgoServer, body: bytes) -> None:
    direct, route = both(ego, body)
    assert comparable(direct) == comparable(route)


def test_a_client_without_permission_gets_the_same_refusal(ego: EgoServer) -> None:
    direct, route = both(ego, BODIES["one sample"], **{"X-Forwarded-For": "192.0.2.1"})
    assert direct.status_code == 401
    assert comparable(direct) == comparable(route)


class Broken:
    """Stands in for each service: the gate knows a local admin, and taking a batch fails because of a bug."""

    is_restored = True

    def actor_of(self, _environ: Any) -> Actor:
        return Actor(LOCAL, role=ADMIN)

    def take(self, *_batch: Any, **_options: Any) -> Any:
        raise KeyError("bug")


def test_a_bug_is_answered_with_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    services: Any = defaultdict(Broken)
    client = Client(DirectIngest(lambda _environ, _start: [b"the route"], services))
    answer = client.post("/api/metrics/batch", data=b"{}", content_type=JSON)
    assert (answer.status_code, answer.mimetype) == (500, "application/problem+json")
    assert "KeyError: 'bug'" in caplog.text


USUAL = {"REQUEST_METHOD": "POST", "CONTENT_TYPE": JSON, "CONTENT_LENGTH": "120"}


def test_a_post_of_small_plain_json_is_usual() -> None:
    assert is_usual(USUAL)


@pytest.mark.parametrize(
    "change",
    [
        {"REQUEST_METHOD": "GET"},
        {"CONTENT_TYPE": "text/plain"},
        {"CONTENT_TYPE": f"{JSON}; charset=utf-8"},
        {"CONTENT_LENGTH": ""},
        {"CONTENT_LENGTH": "-1"},
        {"CONTENT_LENGTH": "1e3"},
        {"CONTENT_LENGTH": "65537"},
        {"HTTP_CONTENT_ENCODING": "gzip"},
        {"HTTP_TRANSFER_ENCODING": "chunked"},
        {"HTTP_PREFER": "handling=lenient"},
    ],
    ids=str,
)
def test_the_route_gets_what_is_not_usual(change: dict[str, str]) -> None:
    assert not is_usual(USUAL | change)
