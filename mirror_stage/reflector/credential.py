"""The credential by which EGO knows this host: a fixed token from a file, or the one of its enrolment, which is rotated.

The enrolment is a file in the state folder. Before a new token is used, it is on disk; the old one stays beside it until EGO
has taken the new one. So no crash and no lost answer locks the host out.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import os
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.trust import is_token

FILE = "enrolment"
ROTATE_AFTER_SECONDS = 30 * 86_400.0
RETRY_SECONDS = 3600.0  # between two tries to rotate
_BYTES_MAX = 16 * 1024

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Enrolment:
    """What the file says. Without a token the host is not enrolled yet. `key` proves that the same host asks again."""

    key: str
    ego: str | None = None
    hostname: str | None = None
    agent_id: str | None = None
    token: str | None = None
    generation: int = 0
    since: float = 0.0  # when the token was made, seconds since 1970
    former: str | None = None  # after a rotation: the other token, until EGO has taken one of them

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the key, which EGO shows beside a waiting host: `ABCD-EFGH-…`."""
        text = base64.b32encode(hashlib.sha256(self.key.encode("ascii")).digest()).decode()[:20]
        return "-".join(text[at : at + 4] for at in range(0, 20, 4))


def new_enrolment() -> Enrolment:
    """The beginning of an enrolment, with a key that only this host knows."""
    return Enrolment(secrets.token_urlsafe(32))


def load(folder: Path) -> Enrolment | None:
    """The enrolment in a state folder; None if there is none. Raises BadSetting if it cannot be read."""
    path = folder / FILE
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError("it is not a regular file")
            content = json.loads(os.read(descriptor, _BYTES_MAX))
        finally:
            os.close(descriptor)
        return _understood(content)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadSetting(f"{path} cannot be read: {error.strerror}; run this with sudo") from error
    except (ValueError, TypeError) as error:
        raise BadSetting(f"{path} holds no enrolment ({error}): remove it and enrol this host again") from error


def save(folder: Path, enrolment: Enrolment) -> None:
    """Write it durably, for the owner of the folder only: root writes for the agent's account. Raises OSError."""
    content = json.dumps({name: value for name, value in asdict(enrolment).items() if value is not None}).encode()
    inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        owner = os.fstat(inside)
        new = f"{FILE}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new, dir_fd=inside)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(new, flags, 0o600, dir_fd=inside)
        try:
            if os.geteuid() != owner.st_uid:
                os.fchown(file, owner.st_uid, owner.st_gid)
            os.write(file, content)
            os.fsync(file)
        finally:
            os.close(file)
        os.rename(new, FILE, src_dir_fd=inside, dst_dir_fd=inside)
        os.fsync(inside)
    finally:
        os.close(inside)


def _understood(content: Any) -> Enrolment:
    """The enrolment that the file's JSON describes. Raises ValueError and TypeError."""
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    known = {field.name for field in fields(Enrolment)}
    found = Enrolment(**{name: value for name, value in content.items() if name in known})
    for token in (found.token, found.former):
        if token is not None and not is_token(token):
            raise ValueError("its token is not valid")
    if not isinstance(found.key, str) or not found.key.isascii():
        raise ValueError("its key is not valid")
    return replace(found, generation=int(found.generation), since=float(found.since))


class Credential(Protocol):
    """Shows EGO which agent sends a request."""

    @property
    def agent_id(self) -> str | None:
        """The id that the enrolment gave this agent; None without an enrolment."""

    def shown(self) -> contextlib.AbstractContextManager[str | None]:
        """The token for one request, from its first byte sent to its answer."""

    def answered(self, token: str | None, status: int | None) -> None:
        """Note the status of EGO's answer to a request with this token; None if there was no answer."""

    def renew(self, rotate: Callable[[str], tuple[str, int] | None]) -> None:
        """Rotate the token where that is due. `rotate` asks EGO for the next token and its generation; None if it gives none."""


class Fixed:
    """A token that never changes, or none."""

    agent_id = None

    def __init__(self, token: str | None) -> None:
        self._token = token

    def shown(self) -> contextlib.AbstractContextManager[str | None]:
        return contextlib.nullcontext(self._token)

    def answered(self, token: str | None, status: int | None) -> None:
        """Does nothing: there is no other token."""

    def renew(self, rotate: Callable[[str], tuple[str, int] | None]) -> None:
        """Does nothing."""


class Enrolled:
    """The token of an enrolment in a state folder. Thread-safe.

    If an old token is used after the new one, EGO suspends the agent, because two machines may have the token. So no request with
    the old token may be under way when the first one with the new token leaves: a rotation waits until all requests have ended, and
    new requests wait until the rotation is done.
    """

    def __init__(self, folder: Path, enrolment: Enrolment, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._kept, self._clock = folder, enrolment, clock
        self._changed = threading.Condition()
        self._under_way = 0
        self._is_rotating = False
        self._not_before = 0.0  # of the next rotation, by the monotonic clock

    @property
    def agent_id(self) -> str | None:
        return self._kept.agent_id

    @contextlib.contextmanager
    def shown(self) -> Iterator[str | None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_rotating)
            self._under_way += 1
            token = self._kept.token
        try:
            yield token
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def answered(self, token: str | None, status: int | None) -> None:
        with self._changed:
            if token != self._kept.token or status is None:
                return  # the token has changed meanwhile, or EGO did not answer
            if status < 400 and self._kept.former is not None:
                self._keep(replace(self._kept, former=None))
            elif status == 401:
                self._take_another()

    def renew(self, rotate: Callable[[str], tuple[str, int] | None]) -> None:
        if not self._is_due():
            return
        with self._changed:
            self._is_rotating = True
            self._changed.wait_for(lambda: self._under_way == 0)
        try:
            self._rotate(rotate)
        finally:
            with self._changed:
                self._is_rotating = False
                self._changed.notify_all()

    def _is_due(self) -> bool:
        age_seconds = self._clock() - self._kept.since
        is_young = 0 <= age_seconds < ROTATE_AFTER_SECONDS  # below 0: the clock was wrong, then or now
        return not is_young and self._kept.former is None and time.monotonic() >= self._not_before

    def _rotate(self, rotate: Callable[[str], tuple[str, int] | None]) -> None:
        self._not_before = time.monotonic() + RETRY_SECONDS
        token = self._kept.token or ""
        given = rotate(token)
        if given is None:
            return
        new, generation = given
        rotated = replace(self._kept, token=new, generation=generation, since=self._clock(), former=token)
        try:
            save(self._folder, rotated)
        except OSError as error:  # EGO takes the old one as long as the new one is not used
            logger.error("the token is not rotated, because the new one cannot be saved: %s", error.strerror or error)
            return
        self._kept = rotated
        logger.info("the token was rotated; it is generation %d", generation)

    def _take_another(self) -> None:
        """EGO refuses the token. Take what root has written since (a new enrolment), else the one before this one."""
        with contextlib.suppress(BadSetting):
            there = load(self._folder)
            if there is not None and there.token is not None and there.token != self._kept.token:
                self._kept = there
                return
        if self._kept.former is not None:
            logger.warning("EGO refuses the token after a rotation, so the other one is tried")
            self._keep(replace(self._kept, token=self._kept.former, former=self._kept.token))

    def _keep(self, enrolment: Enrolment) -> None:
        self._kept = enrolment
        try:
            save(self._folder, enrolment)
        except OSError as error:
            logger.warning("%s cannot be written: %s", self._folder / FILE, error.strerror or error)
