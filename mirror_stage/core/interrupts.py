"""Ctrl-C while a program starts."""

from __future__ import annotations

import os
import signal

INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C has ended


def let_ctrl_c_end_this() -> None:
    """Let Ctrl-C end this process with one line, until the program sets its own handler.

    A KeyboardInterrupt would print a traceback of imports, and some imports swallow it. Without any handler, a process
    that a script has started in the background ignores Ctrl-C.
    """
    signal.signal(signal.SIGINT, _end)


def _end(*_: object) -> None:
    os.write(2, b"mirror-stage: interrupted\n")
    os._exit(INTERRUPTED)
