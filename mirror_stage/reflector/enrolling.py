"""`mirror-stage reflector enroll`: makes this host known to an EGO, by a code or by an admin's approval, and sets the agent up."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.names import BadField, normalise_hostname
from mirror_stage.core.shipped import path_of
from mirror_stage.core.signed import key_of
from mirror_stage.core.trust import Trust, is_token, pin_of_pem
from mirror_stage.reflector.credential import Enrolment, Fixed, load, new_enrolment, save
from mirror_stage.reflector.service_unit import CA_FILE, with_settings, write
from mirror_stage.reflector.settings import values_in
from mirror_stage.reflector.uplink import Answer, Meaning, Uplink, is_generation

ENROLL_PATH = "/api/agents/enroll"
TRIES = 10  # with a code, while EGO does not answer
PAUSE_SECONDS, PAUSE_SECONDS_MAX = 5.0, 60.0
_CODE = re.compile(r"[\x21-\x7e]{1,256}")
_AGENT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]{1,16000}\n-----END CERTIFICATE-----\n?")

Say = Callable[[str], None]


class NotEnrolled(Exception):
    """Why this host is not enrolled; one line that says what to do."""


@dataclass(frozen=True)
class Given:
    """What EGO gives to a host that it enrols. `authority` is the root of EGO's own authority (PEM), if it has one."""

    agent_id: str
    hostname: str
    token: str
    generation: int
    signing_key: str | None
    authority: str | None


@dataclass(frozen=True)
class Wish:
    """What this host asks for, and where the results go."""

    ego: str
    hostname: str
    state_dir: Path
    settings_file: Path
    ca_file: Path | None = None
    pin: str | None = None
    code: str | None = None
    allow_plain: bool = False


def enroll(wish: Wish, say: Say, sleep: Callable[[float], object] = time.sleep) -> None:
    """Enrol this host, unless it is enrolled. Without a code this waits for an admin. Raises NotEnrolled, BadSetting and OSError."""
    wish.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    trust = Trust(wish.ca_file, wish.pin)
    kept = load(wish.state_dir) or new_enrolment()
    if kept.token is not None and kept.ego == wish.ego and _is_known(wish, kept, trust):
        say(f"enrolled already as {kept.hostname}; its token and its settings stay")
        return
    save(wish.state_dir, kept)  # before EGO gets the key: after a lost answer this host asks again with the same one
    uplink = Uplink(wish.ego, trust)
    try:
        given = _asked(uplink, wish, kept, say, sleep)
    finally:
        uplink.close()
    _write_settings(wish, given, say)
    enrolled = replace(kept, ego=wish.ego, hostname=given.hostname, agent_id=given.agent_id, token=given.token,
                       generation=given.generation, since=time.time(), former=None)  # fmt: skip
    save(wish.state_dir, enrolled)
    say(f"enrolled as {given.hostname} at {wish.ego}")
    pin = wish.pin if given.authority is None else pin_of_pem(given.authority)
    say(f"EGO's key: {pin or 'checked by the authorities that this system trusts, or plain HTTP'}")


def _is_known(wish: Wish, kept: Enrolment, trust: Trust) -> bool:
    """Whether EGO takes the token of an earlier enrolment. Raises NotEnrolled if EGO cannot be asked."""
    uplink = Uplink(wish.ego, trust, Fixed(kept.token))
    answer = uplink.get("/api/me")
    uplink.close()
    if answer.status is None or answer.meaning is Meaning.LATER:
        raise NotEnrolled(f"{wish.ego} does not answer: {answer.detail}")
    who = answer.body if answer.is_taken and isinstance(answer.body, dict) else {}
    return who.get("role") == "agent" and who.get("name") == f"agent:{kept.hostname}"


def _asked(uplink: Uplink, wish: Wish, kept: Enrolment, say: Say, sleep: Callable[[float], object]) -> Given:
    """Ask until EGO enrols this host or refuses. The same key may ask again and again: EGO enrols it once."""
    content = {"code": wish.code, "hostname": wish.hostname, "key": kept.key, "instance": None}
    said, failures = "", 0
    while True:
        answer = uplink.post(ENROLL_PATH, content)
        if answer.is_taken and answer.status == 201:
            return understood(answer.body)
        waits = answer.is_taken and answer.status == 202
        if waits:
            failures = 0
            news = (
                f"waiting until an admin of EGO approves {wish.hostname} with the fingerprint {kept.fingerprint}:\n"
                f"  mirror-stage agents approve {shlex.quote(wish.hostname)}    (Ctrl-C ends the waiting)"
            )
        else:
            failures += 1
            if answer.meaning not in {Meaning.UNKNOWN, Meaning.LATER} or (wish.code and failures >= TRIES):
                raise NotEnrolled(_refusal(wish, answer))
            news = f"EGO does not answer as it should, so this asks again: {answer.detail}"
        if news != said:
            say(news)
            said = news
        sleep(_pause(answer))


def _pause(answer: Answer) -> float:
    asked = answer.body.get("retryAfterSeconds") if answer.is_taken and isinstance(answer.body, dict) else None
    seconds = asked if isinstance(asked, (int, float)) else answer.retry_after_seconds
    return min(max(1.0, PAUSE_SECONDS if seconds is None else float(seconds)), PAUSE_SECONDS_MAX)


def _refusal(wish: Wish, answer: Answer) -> str:
    reason = answer.detail or "its answer cannot be read"
    if answer.status is None:
        return f"{wish.ego} does not answer: {reason}; is EGO running, and is the address right?"
    return f"{wish.ego} does not enrol {wish.hostname}: {reason}"


def understood(body: Any) -> Given:
    """What EGO's answer gives. Raises NotEnrolled if it is not complete and right."""
    answer = body if isinstance(body, dict) else {}
    wanted = ("agentId", "hostname", "generation", "token", "signingKey", "authority")
    agent_id, hostname, generation, token, signing_key, authority = map(answer.get, wanted)
    try:
        name = normalise_hostname(hostname) if isinstance(hostname, str) else None
    except BadField:
        name = None
    checks = (
        ("agentId", isinstance(agent_id, str) and _AGENT_ID.fullmatch(agent_id)),
        ("hostname", name),
        ("token", is_token(token)),
        ("generation", is_generation(generation)),
        ("signingKey", signing_key is None or _is_key(signing_key)),
        ("authority", authority is None or (isinstance(authority, str) and _PEM.fullmatch(authority))),
    )
    wrong = [field for field, is_right in checks if not is_right]
    if wrong:
        raise NotEnrolled(
            f"EGO's answer has no valid {', '.join(wrong)}; is this the address of an EGO of this version?"
        )
    return Given(str(agent_id), str(name), str(token), int(generation or 0), signing_key, authority)


def _is_key(text: object) -> bool:
    """Whether this is a key that signatures can be checked with."""
    try:
        return isinstance(text, str) and bool(key_of(text))
    except ValueError:
        return False


def _write_settings(wish: Wish, given: Given, say: Say) -> None:
    """Write the settings that the enrolment decides into the file. The owner's other settings stay."""
    path, authority = wish.settings_file, wish.settings_file.with_name(CA_FILE)
    values: dict[str, Any] = {"ego": wish.ego, "hostname": given.hostname, "token_file": None}
    values |= {"ego_ca": None, "ca_file": None, "ego_pin": wish.pin}
    if given.authority is not None:
        write(authority, given.authority)
        say(f"wrote    {authority}")
        values |= {"ego_ca": str(authority), "ego_pin": None}
    elif wish.ca_file is not None:
        values |= {"ego_ca": str(wish.ca_file.absolute())}
    if wish.allow_plain:
        values["allow_plain"] = True
    if given.signing_key is not None:
        values["ego_signing_key"] = given.signing_key
    former = path.read_text(encoding="utf-8-sig") if path.exists() else path_of("config/reflector.toml").read_text()
    text = with_settings(former, values)
    expected = {**values_in(former, path), **values}
    if not _says(text, {name: value for name, value in expected.items() if value is not None}):
        wanted = ", ".join(name for name, value in values.items() if value is not None)
        raise BadSetting(f"{path}: its lines cannot be changed safely; set {wanted} by hand, or move the file away")
    write(path, text)
    say(f"wrote    {path}")


def _says(text: str, expected: Mapping[str, Any]) -> bool:
    try:
        return values_in(text, Path()) == expected
    except BadSetting:
        return False


def read_code(file: str) -> str | None:
    """The code in a file, or on stdin for `-`; None if that is empty. Raises BadSetting."""
    try:
        text = sys.stdin.readline() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"--code-file: {file} cannot be read: {error}") from error
    code = text.strip()
    if code and not _CODE.fullmatch(code):
        raise BadSetting("--code-file: must hold one code and nothing else, like ms_enroll_...")
    return code or None
