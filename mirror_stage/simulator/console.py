"""`mirror-stage simulate`: runs a fleet in this process, which gevent has patched, and prints its progress."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time

import gevent

from mirror_stage.simulator.client import BadAddress, parse_address
from mirror_stage.simulator.engine import Engine, NotReached, Options

LINE_EVERY_SECONDS = 1.0
CLEAR = "\r\x1b[K"
RED, PLAIN = "\x1b[31m", "\x1b[0m"


def simulate(options: Options, *, as_json: bool) -> int:
    """Run a fleet until it is stopped. Returns the exit status: 0 samples were accepted, 1 none were, 2 bad address."""
    try:
        parse_address(options.ego)
    except BadAddress as error:
        return _say(str(error), 2)
    _raise_open_file_limit()
    engine = Engine(options)
    cpu_began = time.process_time()
    try:
        engine.prepare()  # until it returns, a signal ends this process at once
    except NotReached as why:
        return _say(f"{options.ego} does not answer ({why}); is EGO running there? mirror-stage serve starts one", 1)
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, engine.stop)
    progress = gevent.spawn(_show, engine)
    try:
        engine.run()
    finally:
        progress.kill()
    tally, seconds = engine.tally, engine.seconds
    if as_json:
        about = {
            "hosts": options.hosts,
            "seed": options.seed,
            "scenario": options.scenario,
            "batch": options.batch_size,
        }
        print(json.dumps(about | tally.result(seconds, time.process_time() - cpu_began)), flush=True)
    else:
        _say(tally.line(options.hosts, tally.accepted / seconds if seconds else 0.0), 0)
    if not tally.accepted and tally.trouble:
        return _say(f"nothing was accepted: {tally.trouble}", 1)
    return 0 if tally.accepted else 1


def _show(engine: Engine) -> None:
    """On a terminal, redraw a progress line each second. Elsewhere print only errors, each reason once while it lasts."""
    is_terminal = sys.stderr.isatty()
    is_coloured = is_terminal and not os.environ.get("NO_COLOR")
    accepted, trouble, at = 0, None, time.monotonic()
    try:
        while True:
            gevent.sleep(LINE_EVERY_SECONDS)
            tally, now = engine.tally, time.monotonic()
            if tally.trouble != trouble:
                trouble = tally.trouble
                text = f"{RED}{trouble}{PLAIN}" if is_coloured else trouble
                print(f"{CLEAR if is_terminal else ''}mirror-stage: {text}", file=sys.stderr, flush=True)
            if is_terminal:
                line = tally.line(engine.options.hosts, (tally.accepted - accepted) / (now - at))
                print(f"{CLEAR}{line}", end="", file=sys.stderr, flush=True)
            accepted, at = tally.accepted, now
    finally:
        if is_terminal:
            print(CLEAR, end="", file=sys.stderr, flush=True)


def _raise_open_file_limit() -> None:
    """Raise the limit of open files, because each host that waits for commands holds a connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _say(line: str, status: int) -> int:
    print(f"mirror-stage: {line}", file=sys.stderr)
    return status
