"""Finds patterns of an allow-list that allow more than they seem to, for `reflector check`. Knows common cases, not all."""

from __future__ import annotations

import posixpath
import re
import shlex

from mirror_stage.reflector.policy import ANY_FURTHER

_WILD = re.compile(r"[*?\[]")
_ANY_OPTION = re.compile(r"-+[*?\[]")
_VERSION = re.compile(r"[\d.]+\Z")  # so that python3.11 counts as python

SHELLS = {
    "sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh", "busybox",
}  # fmt: skip
RUNNERS = {
    "python", "perl", "ruby", "node", "php", "lua", "tclsh", "expect", "awk", "gawk", "mawk", "sed", "ed", "vi",
    "vim", "nano", "emacs", "make", "gdb", "strace", "tar", "rsync", "git", "sudo", "doas", "su", "runuser",
    "env", "nice", "ionice", "nohup", "setsid", "stdbuf", "timeout", "time", "watch", "xargs", "parallel",
    "find", "flock", "chroot", "unshare", "nsenter", "chrt", "taskset", "systemd-run", "script", "docker",
    "podman", "kubectl", "crontab", "at", "batch", "ssh", "scp", "nc", "socat",
}  # fmt: skip
FILES = {
    "cat", "head", "tail", "less", "more", "grep", "dd", "cp", "mv", "ln", "rm", "tee", "chmod", "chown",
    "curl", "wget", "install", "truncate", "shred",
}  # fmt: skip
VERBS = {
    "systemctl", "service", "apt", "apt-get", "dnf", "yum", "pip", "npm", "ip", "mount",
}  # fmt: skip


def risk_of(pattern: str) -> str | None:
    """Why a pattern allows more than it seems to; None if no risk is known."""
    program, *arguments = shlex.split(pattern)
    name = posixpath.basename(program)
    name = _VERSION.sub("", name) or name
    has_wildcard = any(map(_is_open, arguments))
    takes_any_file = any(argument == ANY_FURTHER or argument.startswith("*") for argument in arguments)
    risks = (
        (program == ANY_FURTHER, "names no program, so it allows nothing"),
        (_WILD.search(program), "allows every program whose name matches"),
        (any(map(_ANY_OPTION.match, arguments)), "lets every option through, those that write files too"),
        (name in SHELLS and not arguments, "starts a shell"),
        (name in SHELLS | RUNNERS and has_wildcard, f"lets {name} run any other program: write its arguments out"),
        (name in FILES and takes_any_file, f"lets {name} have every file that the agent's user may touch"),
        (name in VERBS and any(map(_is_open, arguments[:1])), f"allows all that {name} can do"),
    )
    return next((what for is_so, what in risks if is_so), None)


def _is_open(argument: str) -> bool:
    return argument == ANY_FURTHER or _WILD.search(argument) is not None
