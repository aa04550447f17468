"""Starting and stopping an EGO in its worker process."""

from __future__ import annotations

import gc
import logging
import sys

import gevent
from flask import Flask

from mirror_stage.access.gate import Gate
from mirror_stage.app import open_storage
from mirror_stage.commands.service import CommandService
from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.problems import Problem
from mirror_stage.core.readiness import Readiness
from mirror_stage.pipeline.owner import Owner
from mirror_stage.pipeline.saving import Saver
from mirror_stage.pipeline.writer import Writer
from mirror_stage.runtime.scheduler import Scheduler
from mirror_stage.storage.db import Storage
from mirror_stage.storage.ownership import Ownership
from mirror_stage.web.port import Services
from mirror_stage.web.realtime import Realtime

log = logging.getLogger(__name__)

START_SECONDS = 2.0  # how long a worker waits for its database before it says so to whoever asks


def start(app: Flask) -> None:
    """Open, own, migrate, restore, then run; waits up to 2 s and goes on trying in the background."""
    gc.freeze()  # what is imported stays: no collection has to look at it again
    gc.set_threshold(50_000, 20, 20)  # samples die young and without cycles; 700 would collect at every batch
    sys.setswitchinterval(0.0005)  # SQLite's thread needs the interpreter after each statement: 5 ms each are too long
    for note in app.extensions["mirror_stage"][Gate].notes():
        log.warning("%s", note)
    app.extensions["mirror_stage_scheduler"] = Scheduler(app.extensions["mirror_stage"])
    gevent.spawn(_start, app).join(timeout=START_SECONDS)


def _start(app: Flask) -> None:
    ego: Services = app.extensions["mirror_stage"]
    while not _is_open(app):
        gevent.sleep(1)
    log.info("ready: %d hosts are known", len(ego[Owner].twin.hosts_by_name))
    ego[Writer].start()
    app.extensions["mirror_stage_scheduler"].start()


def _is_open(app: Flask) -> bool:
    """Whether the storage is open, owned and restored; else `Readiness` says what is missing."""
    readiness = app.extensions["mirror_stage"][Readiness]
    try:
        open_storage(app)
    except (Problem, BadSetting) as why:
        if readiness.why_not != str(why):
            log.warning("not ready: %s", why)
        readiness.why_not = str(why)
    except Exception as error:  # a fault of ours must not leave EGO waiting for ever
        log.exception("the start failed; it is tried again")
        readiness.why_not = f"the start failed: {type(error).__name__}; the log has the details"
    return bool(readiness.is_ready)


def stop(app: Flask) -> None:
    """Wake the polls, close the sockets, end the jobs, commit and save what is left."""
    ego: Services = app.extensions["mirror_stage"]
    app.extensions["mirror_stage_scheduler"].stop()
    ego[CommandService].close()
    ego[Realtime].close_all()
    ego[Writer].stop()
    if ego[Readiness].is_ready:
        ego[Saver].finish(is_whole=ego[Writer].oldest_arrival is None)
    ego[Storage].close()
    ego[Ownership].release()
