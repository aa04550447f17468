"""All wiring, nothing else: `create_app`, and `start` and `stop` of what lives beside the requests."""

from __future__ import annotations

import gc
import logging
import sys

import flask_migrate
import gevent
from flask import Flask, request
from flask_socketio import SocketIO
from gevent import monkey

from mirror_stage import errors, http, permissions, scheduler
from mirror_stage.alerts import rules as alert_rules
from mirror_stage.alerts.routes import blp as alerts_blp
from mirror_stage.alerts.service import AlertService
from mirror_stage.alerts.sockets import register as register_alerts
from mirror_stage.alerts.state import OpenAlerts
from mirror_stage.clock import Clock
from mirror_stage.commands.routes import blp as commands_blp
from mirror_stage.commands.routes import field_blp
from mirror_stage.commands.service import CommandService
from mirror_stage.commands.sockets import register as register_commands
from mirror_stage.config import Config, from_environment
from mirror_stage.ego import Ego
from mirror_stage.ego_monitor.service import EgoMonitor, ego_hostname, is_reported_by_agent
from mirror_stage.errors import Problem, Unavailable
from mirror_stage.health.routes import blp as health_blp
from mirror_stage.history.keeping import Keeper
from mirror_stage.history.routes import blp as history_blp
from mirror_stage.history.routes import hosts_blp as host_history_blp
from mirror_stage.history.service import HistoryService
from mirror_stage.hud.routes import blp as hud_blp
from mirror_stage.metrics.routes import blp as metrics_blp
from mirror_stage.openapi import init_api
from mirror_stage.owner import Ownership
from mirror_stage.past.domain import Scene
from mirror_stage.past.routes import blp as past_blp
from mirror_stage.past.service import Past
from mirror_stage.pipeline import Pipeline
from mirror_stage.realtime import CLIENT_TO_SERVER_MAX, Realtime, WebSocketWall
from mirror_stage.shipped import path_of
from mirror_stage.storage import migrate
from mirror_stage.storage.db import Base, Storage, db, engine_options
from mirror_stage.twin.routes import blp as twin_blp
from mirror_stage.twin.routes import hosts_blp
from mirror_stage.twin.sockets import register as register_twin
from mirror_stage.twin.state import Twin
from mirror_stage.walls import Walls
from mirror_stage.writer import Writer

log = logging.getLogger(__name__)

START_SECONDS = 2.0  # how long a worker waits for its database before it says so to whoever asks
WAITING_POLLS_MAX = 5_000  # half of the connections that gunicorn.conf.py allows
BLUEPRINTS = (
    health_blp, metrics_blp, twin_blp, hosts_blp, host_history_blp, history_blp, past_blp, alerts_blp, commands_blp, field_blp,
)  # fmt: skip


def create_app(config: Config | None = None, *, open_storage: bool = True) -> Flask:
    """EGO as a Flask application.

    Under gevent it answers 503 until `start` has restored the twin. Without monkey-patching it is complete at once:
    the storage is opened here and a posted batch is committed in the calling thread.
    """
    config = config or from_environment()
    app = Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False  # else // would be answered by a redirect in HTML
    app.testing = config.testing
    app.config["SQLALCHEMY_DATABASE_URI"] = config.database_url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(config)
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    db.init_app(app)
    flask_migrate.Migrate(app, db, directory=str(path_of("migrations")), render_as_batch=True)
    errors.init_app(app)
    http.init_app(app)
    rest = app.wsgi_app
    socketio = SocketIO(
        app,
        async_mode="gevent" if monkey.is_module_patched("socket") else "threading",
        cors_allowed_origins=[],  # Walls decides about origins, before Socket.IO sees the request
        max_http_buffer_size=CLIENT_TO_SERVER_MAX,
        ping_interval=10,
        ping_timeout=10,
        always_connect=False,
        logger=logging.getLogger("socketio"),  # else each adds a handler of its own, whose lines are no JSON
        engineio_logger=logging.getLogger("engineio"),
    )
    ego = app.extensions["mirror_stage"] = _wire(config, socketio)
    scheduler.init_app(app, ego)
    app.before_request(_refuse_until_ready)
    api = init_api(app)
    for blueprint in BLUEPRINTS:
        api.register_blueprint(blueprint)
    app.register_blueprint(hud_blp)
    for register in (register_twin, register_commands, register_alerts):
        register(socketio)
    permissions.init_app(app)
    app.wsgi_app = Walls(WebSocketWall(app.wsgi_app, rest), config)  # type: ignore[method-assign]
    if open_storage and not monkey.is_module_patched("socket"):
        _open(app)
    return app


def _wire(config: Config, socketio: SocketIO) -> Ego:
    """Every part, each told what it needs."""
    clock, storage, realtime = Clock(), Storage(config), Realtime(socketio)
    rules, open_alerts = alert_rules.load(config), OpenAlerts()
    twin = Twin(
        hub=config.hub_hostname,
        hub_ip=config.hub_ip,
        ego=ego_hostname(config),
        stale_after_seconds=config.stale_after_seconds,
        offline_after_seconds=config.offline_after_seconds,
    )
    commands = CommandService(
        storage,
        clock,
        realtime,
        policy_of=twin.policy_of,
        polled=twin.polled,
        last_poll_of=twin.last_poll_of,
        waiters_max=WAITING_POLLS_MAX,
    )
    pipeline = Pipeline(
        storage=storage,
        twin=twin,
        open_alerts=open_alerts,
        rules=rules,
        realtime=realtime,
        clock=clock,
        max_hosts=config.max_hosts,
        tell_cancelled=commands.publish_all,
    )
    writer = Writer(pipeline)

    monitor = EgoMonitor(config, writer.submit, lambda: is_reported_by_agent(twin.hosts_by_name.get(twin.ego)), clock)
    alerts = AlertService(storage, rules, open_alerts, pipeline.save)
    history = HistoryService(storage, clock, config.kept_by_resolution)
    keeper = Keeper(storage, clock, config.kept_by_resolution)
    past = Past(
        storage,
        clock,
        Scene(twin.hub, twin.hub_ip, twin.role_of, twin.status_after),
        kept_by_resolution=config.kept_by_resolution,
        save=pipeline.save,
        twin_id=lambda: pipeline.frames.twin_id,
    )
    return Ego(
        config,
        clock,
        storage,
        realtime,
        pipeline,
        writer,
        alerts,
        commands,
        history,
        keeper,
        past,
        monitor,
        Ownership(config),
    )


def _refuse_until_ready() -> None:
    """503 for everything but health until the twin is restored: no answer may show less than is known."""
    from mirror_stage.ego import current_ego

    ego = current_ego()
    if not ego.pipeline.is_ready and not (request.endpoint or "").startswith("health."):
        raise Unavailable(ego.why_not_ready)


def start(app: Flask) -> None:
    """Open, own, migrate, restore, then run; waits up to 2 s and goes on trying in the background."""
    gc.freeze()  # what is imported stays: no collection has to look at it again
    gc.set_threshold(50_000, 20, 20)  # samples die young and without cycles; 700 would collect at every batch
    sys.setswitchinterval(0.0005)  # SQLite's thread needs the interpreter after each statement: 5 ms each are too long
    gevent.spawn(_start, app).join(timeout=START_SECONDS)


def _start(app: Flask) -> None:
    ego = app.extensions["mirror_stage"]
    while not _opened(app):
        gevent.sleep(1)
    log.info("ready: %d hosts are known", len(ego.pipeline.twin.hosts_by_name))
    ego.writer.start()
    app.extensions["mirror_stage_scheduler"].start()


def _opened(app: Flask) -> bool:
    """Whether the storage is open, owned and restored; else `why_not_ready` says what is missing."""
    ego: Ego = app.extensions["mirror_stage"]
    try:
        _open(app)
    except Problem as why:
        if ego.why_not_ready != why.detail:
            log.warning("not ready: %s", why.detail)
        ego.why_not_ready = why.detail
    except Exception as error:  # a fault of ours must not leave EGO waiting for ever
        log.exception("the start failed; it is tried again")
        ego.why_not_ready = f"the start failed: {type(error).__name__}; the log has the details"
    return ego.pipeline.is_ready


def _open(app: Flask) -> None:
    ego: Ego = app.extensions["mirror_stage"]
    with app.app_context():
        if not ego.storage.is_open:
            ego.storage.open(db.engine)
        if not ego.owner.take(db.engine):
            raise Unavailable("another EGO owns this database; this one takes over when it is gone")
        if ego.storage.is_in_memory:
            Base.metadata.create_all(db.engine)
            log.warning("the database is in memory: nothing survives a restart")
        else:
            migrate.upgrade(app)
        ego.commands.watch_over(ego.clock.now())
        ego.history_keeper.begin()
        ego.pipeline.restore()


def stop(app: Flask) -> None:
    """Wake the polls, close the sockets, end the jobs, commit and save what is left."""
    ego: Ego = app.extensions["mirror_stage"]
    app.extensions["mirror_stage_scheduler"].stop()
    ego.commands.close()
    ego.realtime.close_all()
    ego.writer.stop()
    if ego.pipeline.is_ready:
        ego.pipeline.save()
    ego.storage.close()
    ego.owner.release()
