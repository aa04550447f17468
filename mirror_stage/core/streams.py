"""The standard streams of a command: closed ones, full disks, readers that have left, and encodings that lack a character."""

from __future__ import annotations

import codecs
import errno
import io
import json
import os
import sys

_ESCAPED = "mirror-stage-escaped"
_OF_OUTPUT = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
_MODES = {"stdin": "r", "stdout": "w", "stderr": "w"}


def prepare() -> None:
    """Let a closed stream lead nowhere, and escape what an encoding cannot write as JSON does: `\\u00b7`."""
    codecs.register_error(_ESCAPED, _escape)
    for name, mode in _MODES.items():
        stream = getattr(sys, name)
        if stream is None:  # closed by `>&-`, as some supervisors do
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # open as long as this process
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ESCAPED)


def flush() -> None:
    """Write what stdout still holds. Raises OSError."""
    sys.stdout.flush()


def why_unwritten(error: OSError) -> str | None:
    """Why the output cannot be written, and None if an error is about something else. Empty if the reader has left, as `| head` does.

    What stdout still holds is thrown away then.
    """
    if error.errno not in _OF_OUTPUT or error.filename is not None:
        return None
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return "" if error.errno == errno.EPIPE else (error.strerror or str(error))


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end
