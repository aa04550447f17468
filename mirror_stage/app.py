"""Wires all parts of EGO together: `create_app` builds the application, `open_storage` opens the database and restores the twin."""

from __future__ import annotations

import logging
from typing import Any

import flask_migrate
from flask import Flask, request
from flask_socketio import SocketIO
from gevent import monkey

from mirror_stage.access import gate
from mirror_stage.access.gate import AccountLookup, Gate, Sockets
from mirror_stage.access.routes import blp as access_blp
from mirror_stage.access.service import People
from mirror_stage.alerts import events as alert_events
from mirror_stage.alerts import rules as alert_rules
from mirror_stage.alerts.domain import Transition
from mirror_stage.alerts.routes import blp as alerts_blp
from mirror_stage.alerts.service import AlertService
from mirror_stage.alerts.sockets import register as register_alerts
from mirror_stage.alerts.state import OpenAlerts
from mirror_stage.commands.routes import blp as commands_blp
from mirror_stage.commands.routes import field_blp
from mirror_stage.commands.service import CommandService
from mirror_stage.commands.sockets import register as register_commands
from mirror_stage.core.clock import Clock
from mirror_stage.core.config import Config, from_environment
from mirror_stage.core.problems import Unavailable
from mirror_stage.core.readiness import Readiness
from mirror_stage.core.shipped import path_of
from mirror_stage.ego_monitor.service import EgoMonitor, ego_hostname, is_reported_by_agent
from mirror_stage.health.clock_watch import ClockWatch
from mirror_stage.health.routes import blp as health_blp
from mirror_stage.health.service import HealthService
from mirror_stage.history.keeping import Keeper
from mirror_stage.history.routes import blp as history_blp
from mirror_stage.history.routes import hosts_blp as host_history_blp
from mirror_stage.history.service import HistoryService
from mirror_stage.hud.routes import blp as hud_blp
from mirror_stage.metrics.direct import DirectIngest
from mirror_stage.metrics.routes import blp as metrics_blp
from mirror_stage.metrics.service import Ingest
from mirror_stage.past.domain import Scene
from mirror_stage.past.routes import blp as past_blp
from mirror_stage.past.service import Past
from mirror_stage.pipeline.edge import Edge
from mirror_stage.pipeline.known_hosts import KnownHosts
from mirror_stage.pipeline.outbox import Outbox
from mirror_stage.pipeline.owner import Owner
from mirror_stage.pipeline.port import Message, Port
from mirror_stage.pipeline.restore import Restorer
from mirror_stage.pipeline.saving import Saver
from mirror_stage.pipeline.writer import Writer
from mirror_stage.storage import migrate
from mirror_stage.storage.db import Base, Storage, db, engine_options
from mirror_stage.storage.ownership import Ownership
from mirror_stage.storage.trusted_time import TrustedTime
from mirror_stage.twin.audience import Audience
from mirror_stage.twin.frames import Frames
from mirror_stage.twin.routes import blp as twin_blp
from mirror_stage.twin.routes import hosts_blp
from mirror_stage.twin.service import TwinService
from mirror_stage.twin.sockets import register as register_twin
from mirror_stage.twin.state import Twin
from mirror_stage.web import answers, http
from mirror_stage.web.openapi import init_api
from mirror_stage.web.realtime import CLIENT_TO_SERVER_MAX, Realtime, WebSocketWall
from mirror_stage.web.refusals import Refusals
from mirror_stage.web.services import Services, services
from mirror_stage.web.walls import Walls

log = logging.getLogger(__name__)

WAITING_POLLS_MAX = 5_000  # half of the connections that gunicorn.conf.py allows
BLUEPRINTS = (
    health_blp, metrics_blp, twin_blp, hosts_blp, host_history_blp, history_blp, past_blp, alerts_blp, commands_blp, field_blp,
    access_blp,
)  # fmt: skip


def create_app(config: Config | None = None, *, with_storage: bool = True) -> Flask:
    """EGO as a Flask application.

    Under gevent it answers 503 until `runtime.lifecycle.start` has restored the twin. Without gevent's patches it is ready at once:
    this function opens the storage, and the calling thread commits a posted batch.
    """
    config = config or from_environment()
    app = Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False  # else Werkzeug would answer // with a redirect in HTML
    app.testing = config.testing
    app.config["SQLALCHEMY_DATABASE_URI"] = config.database_url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(config)
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    db.init_app(app)
    flask_migrate.Migrate(app, db, directory=str(path_of("migrations")), render_as_batch=True)
    answers.init_app(app)
    http.init_app(app)
    rest = app.wsgi_app
    socketio = Sockets(
        app,
        async_mode="gevent" if monkey.is_module_patched("socket") else "threading",
        cors_allowed_origins=[],  # Walls decides about origins, before Socket.IO sees the request
        max_http_buffer_size=CLIENT_TO_SERVER_MAX,
        ping_interval=10,
        ping_timeout=10,
        always_connect=False,
        logger=logging.getLogger("socketio"),  # else both libraries add their own handlers, whose lines are not JSON
        engineio_logger=logging.getLogger("engineio"),
    )
    ego = app.extensions["mirror_stage"] = _wire(app, config, socketio)
    app.before_request(_refuse_until_ready)
    api = init_api(app)
    for blueprint in BLUEPRINTS:
        api.register_blueprint(blueprint)
    app.register_blueprint(hud_blp)
    for register in (register_twin, register_commands, register_alerts):
        register(socketio)
    gate.init_app(app, socketio)
    served = DirectIngest(WebSocketWall(app.wsgi_app, rest, socketio), ego)
    looked_up = AccountLookup(served, ego[Gate])
    app.wsgi_app = Walls(looked_up, config, ego[Refusals])  # type: ignore[method-assign]
    if with_storage and not monkey.is_module_patched("socket"):
        open_storage(app)
    return app


def _wire(app: Flask, config: Config, socketio: SocketIO) -> Services:
    """All services of EGO, each with the others that it depends on."""
    clock, storage, readiness, realtime = Clock(), Storage(config), Readiness(), Realtime(socketio)
    refusals, people = Refusals(), People(storage, clock)
    rules, open_alerts = alert_rules.load(config), OpenAlerts()
    twin = Twin(
        hub=config.hub_hostname,
        hub_ip=config.hub_ip,
        ego=ego_hostname(config),
        stale_after_seconds=config.stale_after_seconds,
        offline_after_seconds=config.offline_after_seconds,
    )
    frames = Frames(twin)
    audience = Audience(frames, twin, realtime, with_diagnostics=config.twin_diagnostics)
    port, known = Port(), KnownHosts()
    commands = CommandService(
        storage,
        clock,
        realtime,
        policy_of=known.policy_of,
        last_poll_of=known.last_poll_of,
        polled=lambda hostname, at: port.send(Message(polls={hostname: at})),
        waiters_max=WAITING_POLLS_MAX,
    )
    edge = Edge(storage.samples, known, port, clock, hub=config.hub_hostname, max_hosts=config.max_hosts)

    def tell(transition: Transition) -> None:
        realtime.publish(alert_events.NAMESPACE, alert_events.ALERT_UPDATE, alert_events.alert_update(transition))

    outbox = Outbox(tell)
    saver = Saver(
        storage.own,
        twin,
        outbox,
        clock,
        is_degraded=lambda: edge.trouble is not None,
        recovered=edge.recovered,
        arrived_until=lambda: writer.oldest_arrival or clock.now(),
    )
    owner = Owner(
        storage=storage,
        twin=twin,
        open_alerts=open_alerts,
        rules=rules,
        frames=frames,
        audience=audience,
        outbox=outbox,
        saver=saver,
        port=port,
        readiness=readiness,
        clock=clock,
        tell_cancelled=commands.publish_all,
        is_listening=lambda: not (edge.is_stuck or writer.is_full),
    )
    port.listen(known.hear)
    port.listen(owner.hear)
    writer = Writer(edge.admit, then=owner.record_and_show)
    clock_watch = ClockWatch(storage, clock)
    trusted_time = TrustedTime(storage.own, clock, ego_hostname(config))
    keeper = Keeper(storage.own, clock, config.kept_by_resolution, trusted_time.until)
    past = Past(
        storage,
        clock,
        Scene(twin.hub, twin.hub_ip, twin.role_of, twin.status_after),
        kept_by_resolution=config.kept_by_resolution,
        until_recorded=saver.until_recorded,
        twin_id=lambda: frames.twin_id,
    )
    return Services(
        config,
        Gate(config, socketio, people),
        people,
        clock,
        storage,
        readiness,
        realtime,
        refusals,
        Ownership(config),
        audience,
        owner,
        saver,
        Restorer(storage.own, owner, known, frames, readiness, clock),
        writer,
        Ingest(writer, clock, config.longest_retention, is_known=known.ids_by_hostname.__contains__),
        TwinService(twin, frames, clock, forget=owner.forget, body_at=past.body, is_settled=past.is_settled),
        AlertService(storage, open_alerts, saver.until_recorded, config.alerts_kept),
        commands,
        HistoryService(storage, clock, config.kept_by_resolution),
        keeper,
        trusted_time,
        past,
        EgoMonitor(config, writer.submit, lambda: is_reported_by_agent(twin.hosts_by_name.get(twin.ego)), clock),
        clock_watch,
        HealthService(
            config,
            storage,
            readiness,
            history_engine=lambda: keeper.engine,
            writer=lambda: writer.check(edge.trouble),
            history=lambda: _history_check(keeper, trusted_time),
            scheduler=lambda: _scheduler_check(app),
            refused=refusals.check,
            clock=clock_watch.check,
            describe=lambda: {"twinId": frames.twin_id, "ego": twin.ego, "rules": rules},
        ),
    )


def _scheduler_check(app: Flask) -> dict[str, Any]:
    """Whether the jobs run. Without gevent there is no scheduler."""
    scheduler = app.extensions.get("mirror_stage_scheduler")
    return scheduler.check() if scheduler is not None else {"ok": False, "detail": "not running"}


def _history_check(keeper: Keeper, trusted_time: TrustedTime) -> dict[str, Any]:
    """How far the history is rolled up, and why EGO keeps expired history if it does not trust its clock."""
    found = keeper.check()
    return found if trusted_time.doubt is None else {"ok": False, "detail": f"{found['detail']}; {trusted_time.doubt}"}


def _refuse_until_ready() -> None:
    """Answer everything but health with 503 until the twin is restored: an answer before that would lack hosts."""
    readiness = services()[Readiness]
    if not readiness.is_restored and not (request.endpoint or "").startswith("health."):
        raise Unavailable(readiness.why_not)


def open_storage(app: Flask) -> None:
    """Open the database, become its only owner, upgrade its schema, restore the twin and the alerts.

    Raises Unavailable if another EGO owns the database.
    """
    ego: Services = app.extensions["mirror_stage"]
    storage = ego[Storage]
    with app.app_context():
        if not storage.is_open:
            storage.open(db.engine)
        if not ego[Ownership].take(db.engine):
            raise Unavailable("another EGO owns this database; this one takes over when the other has ended")
        if storage.is_in_memory:
            Base.metadata.create_all(db.engine)
            log.warning("the database is in memory: all data are lost at a restart")
        else:
            migrate.upgrade(app)
        ego[CommandService].watch_over(ego[Clock].now())
        ego[TrustedTime].check()
        ego[Keeper].begin()
        ego[Restorer].restore()
