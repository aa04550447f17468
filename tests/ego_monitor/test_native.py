"""Under gevent's patches the parts of a machine run in native threads: one that hangs stops nobody."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from mirror_stage.ego_monitor.native import native_start
from mirror_stage.reflector.parts import InThread

HANGING_SENSOR = """
from gevent import monkey; monkey.patch_all()
import ctypes, json, logging, os, time
import gevent, psutil

libc = ctypes.CDLL(None)  # a call into C that gives way to nobody but the other native threads
held, hold = os.pipe()
threads = []
thread_ident = monkey.get_original("_thread", "get_ident")

def sensors():
    threads.append(thread_ident())
    libc.read(held, ctypes.create_string_buffer(1), 1)
    return {}

psutil.sensors_temperatures = sensors
gaps = []

def tick():
    last = time.monotonic()
    while True:
        gevent.sleep(0.005)
        now = time.monotonic()
        gaps.append(now - last)
        last = now

from mirror_stage.core.config import Config
from mirror_stage.core.clock import Clock
from mirror_stage.ego_monitor.service import EgoMonitor

said = []
class Said(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())
logging.getLogger().addHandler(Said())

samples = []
monitor = EgoMonitor(Config(testing=True, ego_hostname="ego-01"), samples.extend, lambda: False, Clock())
gevent.spawn(tick)
gevent.sleep(0.02)
took = []
for _ in range(4):
    began = time.monotonic()
    monitor.observe()
    took.append(time.monotonic() - began)
    gevent.sleep(0.02)
calls_while_hanging = len(threads)
os.write(hold, b"xxxxxxxx")
gevent.sleep(0.1)
monitor.observe()
print(json.dumps({
    "samples": len(samples), "gap": max(gaps), "ticks": len(gaps), "took": took, "said": said,
    "calls_while_hanging": calls_while_hanging, "off_the_loop": thread_ident() not in threads,
    "calls_afterwards": len(threads),
}))
"""

HANGING_FOR_EVER = """
from gevent import monkey; monkey.patch_all()
import ctypes, os
from mirror_stage.ego_monitor.native import native_start
from mirror_stage.reflector.parts import Parts
held, hold = os.pipe()
hangs = lambda: ctypes.CDLL(None).read(held, ctypes.create_string_buffer(1), 1)
def raises():
    raise OSError("no")
parts = Parts(native_start(), deadline_seconds=0.2)
print(list(parts.read({**{f"hangs {n}": hangs for n in range(30)}, "works": lambda: 1, "raises": raises})))
"""


def run(code: str) -> str:
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=15)
    assert answer.returncode == 0, answer.stderr
    assert "Traceback" not in answer.stderr
    return answer.stdout


def test_a_hanging_sensor_does_not_stop_the_event_loop():
    found: dict[str, Any] = json.loads(run(HANGING_SENSOR))
    print(
        f"\nlargest gap of the loop {1000 * found['gap']:.0f} ms over {found['ticks']} ticks; samples took",
        found["took"],
    )
    assert found["samples"] == 5
    assert found["gap"] < 0.5
    assert 0.9 < found["took"][0] < 2, "the first one waits for the sensor until the deadline"
    assert max(found["took"][1:]) < 0.9, "the others do not wait for it"
    assert found["calls_while_hanging"] == 1
    assert found["off_the_loop"]
    assert found["calls_afterwards"] == 2, "it has returned, so it is asked again"
    assert found["said"] == ["cannot read sensors: TimeoutError: no answer within 1 s"]


def test_parts_that_hang_for_ever_hold_up_neither_others_nor_the_end_of_the_process():
    assert run(HANGING_FOR_EVER).strip() == "['works']"


def test_without_patches_the_parts_run_in_plain_threads():
    assert native_start() is InThread


PROGRAMS = """
from gevent import monkey; monkey.patch_all()
import json, subprocess, time
import gevent
from gevent.threadpool import ThreadPool
from mirror_stage.ego_monitor.native import NativeMachine, _outcome

ticks = []

def tick():
    while True:
        gevent.sleep(0.01)
        ticks.append(time.monotonic())

gevent.spawn(tick)
pool = ThreadPool(4)
ask = lambda *words, within=5: pool.spawn(_outcome, lambda: NativeMachine().output_of(words, within))
slow = ask("/bin/sh", "-c", "sleep 0.5; echo 61")
failing, hanging = ask("/bin/false"), ask("/bin/sleep", "30", within=0.3)
answers = [one.get() for one in (slow, failing, hanging)]
print(json.dumps({
    "answers": [value if error is None else type(error).__name__ for value, error in answers],
    "ticks": len(ticks),
}))
"""


def test_a_program_is_asked_from_a_native_thread_and_the_event_loop_goes_on():
    answer = subprocess.run([sys.executable, "-c", PROGRAMS], capture_output=True, text=True, timeout=20, check=True)
    found = json.loads(answer.stdout)
    assert found["answers"] == ["61\n", "CalledProcessError", "TimeoutExpired"]
    assert found["ticks"] > 10
