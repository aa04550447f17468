"""gunicorn, which `mirror-stage serve` becomes. While it is imported, Ctrl-C ends it with one line."""

from __future__ import annotations

from mirror_stage.core.interrupts import let_ctrl_c_end_this

if __name__ == "__main__":
    let_ctrl_c_end_this()
    from gunicorn.app.wsgiapp import run

    run(prog="gunicorn")
