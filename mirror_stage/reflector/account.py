"""The account that commands run as. If it is not the agent's, no command can read the agent's token, journal and samples."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mirror_stage.core.bad_setting import BadSetting

# What an agent that is not root needs to start and end processes of another account, and to find those that have left their
# process group: the name in systemd, and the number in linux/capability.h.
CAPABILITIES = {"CAP_KILL": 5, "CAP_SETGID": 6, "CAP_SETUID": 7, "CAP_SYS_PTRACE": 19}
_AMBIENT, _CLEAR_ALL = 47, 4  # PR_CAP_AMBIENT and PR_CAP_AMBIENT_CLEAR_ALL of linux/prctl.h


@dataclass(frozen=True)
class Account:
    """An account of this machine, with all its groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str

    @property
    def environment(self) -> Mapping[str, str]:
        """What its processes find in their environment about it."""
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name, "SHELL": self.shell}

    @property
    def options(self) -> Mapping[str, Any]:
        """The arguments with which `subprocess.Popen` starts a process of it."""
        return {"user": self.uid, "group": self.gid, "extra_groups": self.groups}


def account_of(name: str, agent_uid: int) -> Account:
    """The account of this name. Raises BadSetting if there is none, or if it could read the files of the agent's account."""
    try:
        found = pwd.getpwnam(name)
    except KeyError as error:
        raise BadSetting(
            f"command_user: there is no account {name} here; sudo mirror-stage reflector install adds it"
        ) from error
    if found.pw_uid in {0, agent_uid}:
        whose = "root" if found.pw_uid == 0 else "the agent's own account"
        raise BadSetting(f"command_user: {name} is {whose}, which can read the agent's files; name another account")
    groups = tuple(os.getgrouplist(name, found.pw_gid))
    return Account(name, found.pw_uid, found.pw_gid, groups, found.pw_dir, found.pw_shell)


def become_able(account: Account) -> None:
    """Let this agent start commands of an account, and keep the right to do that from them. Raises BadSetting if it has none.

    Call it before there is any other thread. A process of root loses its capabilities with its uid. Those of an agent that
    is not root would pass on to each program that it starts, if they stayed ambient.
    """
    missing = sorted(name for name, number in CAPABILITIES.items() if not _held() >> number & 1)
    if missing:
        raise BadSetting(
            f"command_user: this agent cannot run commands as {account.name}, because it has no {', '.join(missing)}; "
            "run sudo mirror-stage reflector install to write its service anew, or start it as root with these"
        )
    if os.geteuid() != 0:
        import ctypes

        if ctypes.CDLL(None, use_errno=True).prctl(_AMBIENT, _CLEAR_ALL, 0, 0, 0) != 0:
            why = os.strerror(ctypes.get_errno())
            raise BadSetting(f"command_user: the agent cannot keep its capabilities from commands: {why}")


def _held() -> int:
    """The effective capabilities of this process, one bit each. Where /proc does not say them, root has all."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("CapEff:"):
                return int(line.split()[1], 16)
    return -1 if os.geteuid() == 0 else 0
