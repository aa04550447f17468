"""Starts and stops EGO in its worker process."""

from __future__ import annotations

import gc
import logging
import sys

import gevent
from flask import Flask

from mirror_stage.access.gate import Gate
from mirror_stage.app import open_storage
from mirror_stage.cluster.service import Cluster
from mirror_stage.commands.service import CommandService
from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.config import Config
from mirror_stage.core.problems import Problem
from mirror_stage.core.readiness import Readiness
from mirror_stage.figures.loop_lag import LoopLag
from mirror_stage.pipeline.owner import Owner
from mirror_stage.pipeline.saving import Saver
from mirror_stage.pipeline.writer import Writer
from mirror_stage.runtime.scheduler import Scheduler
from mirror_stage.storage.db import Storage
from mirror_stage.storage.ownership import Ownership
from mirror_stage.twin.frames import Frames
from mirror_stage.web.realtime import Realtime
from mirror_stage.web.services import Services

log = logging.getLogger(__name__)

START_SECONDS = 2.0  # how long a worker waits for its database before it accepts requests and answers them with 503
START_OF_SEVERAL_SECONDS = 10.0  # the same where other workers answer meanwhile


def start(app: Flask) -> None:
    """Open the database, own it, migrate it, restore the twin, then start the writer and the jobs.

    Returns after START_SECONDS at the latest, or START_OF_SEVERAL_SECONDS with several workers on this machine. The start
    then goes on in the background until it succeeds.
    """
    app.extensions["mirror_stage"][Readiness].begin()
    gc.freeze()  # imported objects stay: the garbage collector need not visit them again
    gc.set_threshold(
        50_000, 20, 20
    )  # samples live briefly and have no cycles; Python's 700 would collect at every batch
    sys.setswitchinterval(
        0.0005
    )  # SQLite's thread needs the interpreter after each statement: Python's 5 ms is too long
    for note in app.extensions["mirror_stage"][Gate].notes():
        log.warning("%s", note)
    app.extensions["mirror_stage_scheduler"] = Scheduler(app.extensions["mirror_stage"])
    app.extensions["mirror_stage"][LoopLag].start()
    config: Config = app.extensions["mirror_stage"][Config]
    is_one_of_several = config.is_clustered and config.workers > 1
    gevent.spawn(_start, app).join(timeout=START_OF_SEVERAL_SECONDS if is_one_of_several else START_SECONDS)


def _start(app: Flask) -> None:
    ego: Services = app.extensions["mirror_stage"]
    while not _is_open(app):
        cluster = ego.get(Cluster)
        gevent.sleep(0.1 if cluster is not None and cluster.has_begun else 1)
    log.info("ready: %d hosts are known", ego[Frames].size)
    ego[Writer].start()
    app.extensions["mirror_stage_scheduler"].start()


def _is_open(app: Flask) -> bool:
    """Try to open the storage. Returns whether EGO is ready; if not, `Readiness.why_not` has the reason."""
    readiness = app.extensions["mirror_stage"][Readiness]
    try:
        open_storage(app)
    except (Problem, BadSetting) as why:
        if readiness.why_not != str(why):
            log.warning("not ready: %s", why)
        readiness.why_not = str(why)
    except Exception as error:  # a bug must not end the loop that tries again
        log.exception("the start failed; EGO tries again")
        readiness.why_not = f"the start failed: {type(error).__name__}; the log has the details"
    return bool(readiness.is_restored)


def stop(app: Flask) -> None:
    """Stop the jobs, end the long polls, close the sockets, commit the queued samples, save the state, release the database.

    Nothing happens if it has not been started: a signal may come before.
    """
    ego: Services = app.extensions["mirror_stage"]
    if "mirror_stage_scheduler" not in app.extensions:
        return
    app.extensions["mirror_stage_scheduler"].stop()
    ego[LoopLag].stop()
    ego[CommandService].close()
    ego[Realtime].close_all()
    ego[Writer].stop()
    cluster = ego.get(Cluster)
    if ego[Owner].is_leading:
        is_whole = cluster is None and ego[Writer].oldest_arrival is None
        ego[Saver].finish(is_whole=is_whole)
    if cluster is not None:
        cluster.leave()
    ego[Storage].close()
    ego[Ownership].release()
