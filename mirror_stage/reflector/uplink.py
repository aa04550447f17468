"""Sends requests to EGO and says what each answer means for the sender. Answers are checked, never trusted."""

from __future__ import annotations

import email.utils
import gzip
import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final
from urllib.parse import quote, urlencode

from mirror_stage.core.trust import Trust, is_token
from mirror_stage.core.version import VERSION
from mirror_stage.reflector.credential import Credential, Fixed
from mirror_stage.reflector.exchange import Broken, Exchange

ANSWER_SECONDS = 10.0  # from the first byte sent to the last byte read
PACK_FROM_BYTES = 8 * 1024
UNPACKED_RATIO_MAX = 18  # EGO refuses more than 20:1; such a body is sent uncompressed
PROBLEM: Final = "application/problem+json"
OURS: Mapping[str, str] = {"User-Agent": f"mirror-stage-reflector/{VERSION}", "Accept": "application/json"}
UPGRADE_REQUIRED: Final = 426  # EGO's answer to plain HTTP on a port that speaks https
SHOWN_MAX = 300  # characters of EGO's text that are shown in a message
NUMBER_DIGITS_MAX = 40
ROTATE_PATH: Final = "/api/agents/self/rotate"

logger = logging.getLogger(__name__)


class Meaning(Enum):
    """What an answer means for the sender."""

    TAKEN = "EGO has it"
    REFUSED = "EGO will not take it as it is, now or later"
    LATER = "nothing was stored: send it again later"
    UNKNOWN = "it may be stored or not: send it again, unchanged"
    MISDIRECTED = "not EGO, or EGO refuses this agent (401, 403): keep the sample, and log it"


# By HTTP status; None means no answer. Any other status is MISDIRECTED, and so is a refusal that is not from EGO (such as
# a proxy's page).
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


@dataclass(frozen=True)
class Answer:
    """An answer. `body` is the decoded JSON, None if there is none; `detail` says what is wrong."""

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
    """Sends requests to the EGO at a URL, which may have a path, with a credential if there is one. Thread-safe."""

    def __init__(self, ego: str, trust: Trust | None = None, credential: Credential | None = None) -> None:
        self._exchange = Exchange(ego, trust)
        self._credential = credential or Fixed(None)

    def post_samples(self, samples: Sequence[bytes]) -> Answer:
        """EGO's answer to a batch of encoded samples. An answer that does not count them all is not from EGO."""
        body, headers = packed(b'{"samples":[' + b",".join(samples) + b"]}")
        answer = self._ask("POST", "/api/metrics/batch", body, headers)
        if answer.is_taken and not _counts(answer.body, len(samples)):
            return _misdirected(answer.status, "an answer that does not count the samples")
        return answer

    def post(self, path: str, content: Mapping[str, Any]) -> Answer:
        """EGO's answer to a JSON object; a large one is compressed."""
        body, headers = packed(json.dumps(content).encode())
        return self._ask("POST", path, body, headers)

    def get(
        self,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        wait_seconds: float = 0.0,
    ) -> Answer:
        """EGO's answer; `wait_seconds` is how long it may hold the request back."""
        target = f"{path}?{urlencode(query)}" if query else path
        return self._ask("GET", target, None, headers or {}, wait_seconds)

    @property
    def agent_id(self) -> str | None:
        """The id that the enrolment gave this agent; None without an enrolment."""
        return self._credential.agent_id

    def renew_credential(self) -> None:
        """Rotate the credential where that is due. Ask for it where no request of this thread is under way."""
        self._credential.renew(self._rotated)

    def close(self) -> None:
        """Close the idle connections."""
        self._exchange.close()

    def _ask(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str], wait_seconds: float = 0.0
    ) -> Answer:
        with self._credential.shown() as token:
            answer = self._sent(method, target, body, headers, token, ANSWER_SECONDS + wait_seconds)
            self._credential.answered(token, answer.status)
            return answer

    def _sent(
        self,
        method: str,
        target: str,
        body: bytes | None,
        headers: Mapping[str, str],
        token: str | None,
        seconds: float,
    ) -> Answer:
        shown_token = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            reply = self._exchange.ask(method, target, body, {**OURS, **shown_token, **headers}, seconds)
        except Broken as error:
            return Answer(MEANINGS[None], None, detail=shown(error))
        return understood(reply.status, reply.headers, reply.content)

    def _rotated(self, token: str) -> tuple[str, int] | None:
        """The next token and its generation; None if EGO gives none. The old one stays good until the new one is used."""
        body, headers = packed(b"{}")
        answer = self._sent("POST", ROTATE_PATH, body, headers, token, ANSWER_SECONDS)
        if answer.is_taken and isinstance(answer.body, dict):
            new, generation = answer.body.get("token"), answer.body.get("generation", 0)
            if is_token(new) and new != token and is_generation(generation):
                return str(new), int(generation)
        logger.warning("the token was not rotated: %s", answer.detail or "EGO answers without a new one")
        return None


def packed(body: bytes) -> tuple[bytes, dict[str, str]]:
    """The body to send (gzip if it is large) and its headers."""
    headers = {"Content-Type": "application/json"}
    if len(body) >= PACK_FROM_BYTES:
        small = gzip.compress(body, compresslevel=5, mtime=0)
        if len(small) * UNPACKED_RATIO_MAX >= len(body):
            return small, headers | {"Content-Encoding": "gzip"}
    return body, headers


def understood(status: int, headers: Mapping[str, str], content: bytes) -> Answer:
    """The Answer for a status, headers and content."""
    meaning = MEANINGS.get(status, Meaning.MISDIRECTED)
    if status == UPGRADE_REQUIRED:
        return Answer(meaning, status, detail=f"{status}: EGO speaks https there: write https:// in its address")
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    body = None
    if kind in {"application/json", PROBLEM}:
        try:
            body = strict_json(content)
        except ValueError as error:
            return _misdirected(status, f"something that calls itself JSON and is none ({shown(error)})")
    if meaning is Meaning.TAKEN and body is None:
        return _misdirected(status, f"{shown(kind) or 'nothing'} instead of JSON")
    if meaning is Meaning.REFUSED and kind != PROBLEM:
        return _misdirected(status, "a refusal that is not from EGO")
    detail = "" if meaning is Meaning.TAKEN else f"{status} {_detail(body)}".strip()
    return Answer(
        meaning, status, body, detail, _retry_after(headers.get("Retry-After"), time.time()), headers.get("Date")
    )


def strict_json(content: bytes) -> Any:
    """The value of a JSON text. Raises ValueError if it is not JSON, or if JSON readers could disagree about its value."""
    try:
        return json.loads(
            content.decode(),
            object_pairs_hook=_without_repeats,
            parse_int=_short_whole,
            parse_float=_finite,
            parse_constant=_finite,
        )
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def is_generation(value: Any) -> bool:
    """Whether this counts the tokens of one enrolment."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53


def in_path(word: str) -> str:
    """A hostname or an id, quoted as one segment of a URL's path."""
    return quote(word, safe="")


def shown(what: object) -> str:
    """A text from outside, made safe for a message: one line, printable characters only, at most SHOWN_MAX of them."""
    text = " ".join(str(what).split())
    text = "".join(char if char.isprintable() else "\ufffd" for char in text[: SHOWN_MAX + 1])
    return text if len(text) <= SHOWN_MAX else text[:SHOWN_MAX] + "…"


def _misdirected(status: int | None, what: str) -> Answer:
    return Answer(Meaning.MISDIRECTED, status, detail=f"{status}: {what}; is this EGO's address?")


def _counts(body: Any, count: int) -> bool:
    return isinstance(body, dict) and body.get("accepted") == count


def _detail(body: Any) -> str:
    return shown(body.get("detail", "")) if isinstance(body, dict) else ""


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return members


def _short_whole(text: str) -> int:
    if len(text) > NUMBER_DIGITS_MAX:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{shown(text)} is no number")
    return number


def _retry_after(text: str | None, now: float) -> float | None:
    """Seconds of a Retry-After, which is a number or a date; None if it is neither."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
