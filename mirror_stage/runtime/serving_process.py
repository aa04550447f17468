"""gunicorn, which `mirror-stage serve` becomes. While it is imported, Ctrl-C ends it with one line."""

from __future__ import annotations

import sys

from mirror_stage.core.interrupts import let_ctrl_c_end_this

if __name__ == "__main__":
    let_ctrl_c_end_this()
    from gunicorn.app.wsgiapp import run
    from gunicorn.util import getcwd

    sys.path.append(getcwd())  # gunicorn would put it first, and what lies there before Python's own modules
    run(prog="gunicorn")
