"""Where the program `mirror-stage` begins. Ctrl-C ends it with one line, at every moment of its start."""

from __future__ import annotations

import signal
import sys

from mirror_stage.core.interrupts import INTERRUPTED, let_ctrl_c_end_this


def main() -> int:
    """Run the command line. Returns the exit status."""
    let_ctrl_c_end_this()
    from mirror_stage.runtime import cli, db_commands

    signal.signal(signal.SIGINT, signal.default_int_handler)  # from here on there may be something to tidy up
    try:
        return cli.main()
    except KeyboardInterrupt:
        db_commands.tell("")
        return db_commands.say("interrupted", INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
