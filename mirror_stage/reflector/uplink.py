"""The way to EGO: one session whose connections stay open, and what each of EGO's answers means."""

from __future__ import annotations

import email.utils
import gzip
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter

from mirror_stage import __version__

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 10.0
CONNECTIONS_MAX = 16
PACK_FROM_BYTES = 8 * 1024
UNPACKED_RATIO_MAX = 18  # EGO unpacks up to 20:1; what packs better is sent as it is
PROBLEM: Final = "application/problem+json"
_ERRNO = re.compile(r"\[Errno -?\d+\] ")


class Meaning(Enum):
    """What a sender has to do about an answer."""

    TAKEN = "EGO has it"
    REFUSED = "EGO will not take it as it is, now or later"
    LATER = "nothing was stored: send it again later"
    UNKNOWN = "it may be stored or not: send it again, unchanged"
    MISDIRECTED = "who answers there does not talk to this agent: keep it, and say so"


# By EGO's status; None is no answer at all. Whatever is not listed is MISDIRECTED, and so is a refusal that is none of
# EGO's (a proxy's page).
MEANINGS: Mapping[int | None, Meaning] = {
    None: Meaning.UNKNOWN,
    200: Meaning.TAKEN,
    201: Meaning.TAKEN,
    202: Meaning.TAKEN,
    400: Meaning.REFUSED,
    404: Meaning.REFUSED,
    409: Meaning.REFUSED,
    413: Meaning.REFUSED,
    408: Meaning.LATER,
    429: Meaning.LATER,
    500: Meaning.LATER,
    502: Meaning.LATER,
    503: Meaning.LATER,
    504: Meaning.UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `body` is the decoded JSON, None if it was none; `detail` says in words what is wrong."""

    meaning: Meaning
    status: int | None
    body: Any = None
    detail: str = ""
    retry_after_seconds: float | None = None
    date: str | None = None

    @property
    def is_taken(self) -> bool:
        """Whether EGO did what it was asked for."""
        return self.meaning is Meaning.TAKEN


class Uplink:
    """Speaks to the EGO at a URL, which may have a path of its own. For several threads.

    Proxies and other settings of the environment are not looked at: it is a private network, and it costs time.
    """

    def __init__(self, ego: str, ca_file: Path | None = None) -> None:
        self._base = ego.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(ca_file) if ca_file is not None else True
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers["User-Agent"] = f"mirror-stage-reflector/{__version__}"
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=CONNECTIONS_MAX))

    def post_samples(self, samples: Sequence[bytes]) -> Answer:
        """EGO's answer to a batch of encoded samples. One that counts fewer than were sent is none of EGO's."""
        body, headers = packed(b'{"samples":[' + b",".join(samples) + b"]}")
        answer = self._ask("POST", "/api/metrics/batch", body=body, headers=headers)
        if answer.is_taken and not _counts(answer.body, len(samples)):
            return _misdirected(answer.status, "an answer that does not count the samples")
        return answer

    def post(self, path: str, content: Mapping[str, Any]) -> Answer:
        """EGO's answer to a JSON object; a large one is packed."""
        body, headers = packed(json.dumps(content).encode())
        return self._ask("POST", path, body=body, headers=headers)

    def get(
        self,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        wait_seconds: float = 0.0,
    ) -> Answer:
        """EGO's answer; `wait_seconds` is how long it may hold the request back."""
        return self._ask("GET", path, query=query, headers=headers, wait_seconds=wait_seconds)

    def close(self) -> None:
        """Let the connections go."""
        self._session.close()

    def _ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        wait_seconds: float = 0.0,
    ) -> Answer:
        def ask() -> Answer:
            response = self._session.request(
                method,
                self._base + path,
                data=body,
                params=query,
                headers=headers,
                timeout=(CONNECT_SECONDS, ANSWER_SECONDS + wait_seconds),
                allow_redirects=False,
            )
            return understood(response.status_code, response.headers, response.content)

        try:
            try:
                return ask()
            except requests.Timeout:
                raise
            except requests.ConnectionError as error:
                # A kept connection that EGO has closed meanwhile is noticed only when it is used; whatever is asked
                # for may be asked for twice: samples, results and polls are recognised.
                if _was_refused(error):
                    raise
                return ask()
        except requests.RequestException as error:
            return Answer(MEANINGS[None], None, detail=_in_words(error))


def packed(body: bytes) -> tuple[bytes, dict[str, str]]:
    """A JSON body as it is sent, gzip if it is large, and its headers."""
    headers = {"Content-Type": "application/json"}
    if len(body) >= PACK_FROM_BYTES:
        small = gzip.compress(body, compresslevel=5, mtime=0)
        if len(small) * UNPACKED_RATIO_MAX >= len(body):
            return small, headers | {"Content-Encoding": "gzip"}
    return body, headers


def understood(status: int, headers: Mapping[str, str], content: bytes) -> Answer:
    """An answer as its sender has to take it."""
    meaning = MEANINGS.get(status, Meaning.MISDIRECTED)
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    body = None
    if kind in {"application/json", PROBLEM}:
        try:
            body = json.loads(content)
        except ValueError:
            return _misdirected(status, "something that calls itself JSON and is none")
    if meaning is Meaning.TAKEN and body is None:
        return _misdirected(status, f"{kind or 'nothing'} instead of JSON")
    if meaning is Meaning.REFUSED and kind != PROBLEM:
        return _misdirected(status, "a refusal that is none of EGO's")
    detail = "" if meaning is Meaning.TAKEN else f"{status} {_detail(body)}".strip()
    return Answer(
        meaning, status, body, detail, _retry_after(headers.get("Retry-After"), time.time()), headers.get("Date")
    )


def host_path(hostname: str) -> str:
    """A hostname as it stands in a URL."""
    return quote(hostname, safe="")


def _misdirected(status: int | None, what: str) -> Answer:
    return Answer(Meaning.MISDIRECTED, status, detail=f"{status}: {what}; is this EGO's address?")


def _counts(body: Any, count: int) -> bool:
    return isinstance(body, dict) and body.get("accepted") == count


def _detail(body: Any) -> str:
    return " ".join(str(body.get("detail", "")).split()) if isinstance(body, dict) else ""


def _retry_after(text: str | None, now: float) -> float | None:
    """Seconds of a Retry-After, which is a number or a date; None if it is neither."""
    if text is None:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now)
    except ValueError:
        return None


def _was_refused(error: requests.ConnectionError) -> bool:
    """Whether no connection came about at all: asking again at once is of no use."""
    return "NewConnectionError" in repr(error) or "NameResolutionError" in repr(error)


def _in_words(error: requests.RequestException) -> str:
    """The innermost reason, without the layers around it."""
    cause: BaseException = error
    while True:
        inner = getattr(cause, "reason", None) or next((a for a in cause.args if isinstance(a, BaseException)), None)
        if not isinstance(inner, BaseException):
            break
        cause = inner
    text = " ".join(str(cause).split())
    return _ERRNO.split(text)[-1] or type(error).__name__
