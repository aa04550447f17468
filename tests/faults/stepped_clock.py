"""A wall clock that a test can step for one process, with a preloaded library. Monotonic time is not changed."""

from __future__ import annotations

import mmap
import struct
import subprocess
from pathlib import Path

from tests.servers import installed

SOURCE = Path(__file__).with_name("stepped_clock.c")


class SteppedClock:
    """The wall clock of every process that is started with `settings`."""

    def __init__(self, folder: Path):
        library, offset = folder / "stepped_clock.so", folder / "offset"
        compiler = installed("cc", "gcc libc6-dev")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"], check=True)
        offset.write_bytes(struct.pack("q", 0))
        with offset.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 8)
        self.settings = {"LD_PRELOAD": str(library), "WALL_CLOCK_OFFSET": str(offset)}

    def step_to(self, seconds: float) -> None:
        """Set the wall clock to the right time plus `seconds`."""
        self._shared[:8] = struct.pack("q", int(seconds * 1e9))
