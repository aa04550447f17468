"""Wires all parts of EGO together: `create_app` builds the application, `open_storage` opens the database and restores the twin."""

from __future__ import annotations

import logging

import flask_migrate
from flask import Flask, request
from gevent import monkey

from mirror_stage.access import gate
from mirror_stage.access.gate import AccountLookup, Gate, Sockets
from mirror_stage.access.revocations import Revocations
from mirror_stage.access.routes import blp as access_blp
from mirror_stage.access.service import People
from mirror_stage.alerting.routes import blp as alerting_blp
from mirror_stage.alerts.routes import blp as alerts_blp
from mirror_stage.alerts.routes import host_rules_blp, rules_blp
from mirror_stage.alerts.rulebook import RuleBook
from mirror_stage.alerts.sockets import register as register_alerts
from mirror_stage.backtest.routes import blp as backtest_blp
from mirror_stage.cluster.service import Cluster
from mirror_stage.commands.routes import blp as commands_blp
from mirror_stage.commands.routes import dispatch_blp, field_blp
from mirror_stage.commands.service import CommandService
from mirror_stage.commands.sockets import register as register_commands
from mirror_stage.core.clock import Clock
from mirror_stage.core.config import Config, from_environment
from mirror_stage.core.foreign_servers import refuse
from mirror_stage.core.problems import Unavailable
from mirror_stage.core.readiness import Readiness
from mirror_stage.core.shipped import path_of
from mirror_stage.disks.routes import blp as disks_blp
from mirror_stage.enrolment.routes import blp as enrolment_blp
from mirror_stage.enrolment.service import Enrolment
from mirror_stage.exporter.ego import EgoFigures
from mirror_stage.exporter.routes import blp as figures_blp
from mirror_stage.exporter.routes import targets_blp
from mirror_stage.health.routes import blp as health_blp
from mirror_stage.history.keeping import Keeper
from mirror_stage.history.routes import blp as history_blp
from mirror_stage.history.routes import hosts_blp as host_history_blp
from mirror_stage.hud.routes import blp as hud_blp
from mirror_stage.installer.routes import blp as installer_blp
from mirror_stage.metrics.direct import PATH, DirectIngest
from mirror_stage.metrics.routes import blp as metrics_blp
from mirror_stage.notifications.routes import blp as notifications_blp
from mirror_stage.past.routes import blp as past_blp
from mirror_stage.past.routes import hosts_blp as host_past_blp
from mirror_stage.pipeline.restore import Restorer
from mirror_stage.processes.routes import blp as processes_blp
from mirror_stage.quiet.routes import blp as quiet_blp
from mirror_stage.quiet.service import Quiet
from mirror_stage.signing.service import Signer
from mirror_stage.storage import migrate
from mirror_stage.storage.db import Base, Storage, db, engine_options
from mirror_stage.storage.ownership import Ownership, migrating
from mirror_stage.storage.trusted_time import TrustedTime
from mirror_stage.tls.routes import blp as tls_blp
from mirror_stage.twin.routes import blp as twin_blp
from mirror_stage.twin.routes import hosts_blp
from mirror_stage.twin.sockets import register as register_twin
from mirror_stage.views.routes import blp as views_blp
from mirror_stage.web import answers, http
from mirror_stage.web.latency import Latency
from mirror_stage.web.openapi import init_api
from mirror_stage.web.realtime import CLIENT_TO_SERVER_MAX, WebSocketWall
from mirror_stage.web.refusals import Refusals
from mirror_stage.web.services import Services, services
from mirror_stage.web.walls import Walls
from mirror_stage.wiring import wire

log = logging.getLogger(__name__)

BLUEPRINTS = (
    health_blp, tls_blp, metrics_blp, twin_blp, hosts_blp, host_history_blp, history_blp, processes_blp, past_blp, host_past_blp, disks_blp,
    alerts_blp, rules_blp, host_rules_blp, backtest_blp, quiet_blp, notifications_blp, alerting_blp, commands_blp, field_blp,
    dispatch_blp, access_blp, enrolment_blp, figures_blp, targets_blp, views_blp,
)  # fmt: skip


def create_app(config: Config | None = None, *, with_storage: bool = True) -> Flask:
    """EGO as a Flask application.

    Without a config, it is for the server that imports it: one that would not start EGO ends here with one line.
    Under gevent it answers 503 until `runtime.lifecycle.start` has restored the twin. Without gevent's patches it is ready at once:
    this function opens the storage, and the calling thread commits a posted batch.
    """
    if config is None:
        refuse()
        config = from_environment()
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
    ego = app.extensions["mirror_stage"] = wire(app, config, socketio)
    app.before_request(_refuse_until_ready)
    api = init_api(app)
    for blueprint in BLUEPRINTS:
        api.register_blueprint(blueprint)
    app.register_blueprint(hud_blp)
    app.register_blueprint(installer_blp)
    for register in (register_twin, register_commands, register_alerts):
        register(socketio)
    gate.init_app(app, socketio)
    has_several_workers = config.is_clustered and config.workers > 1
    sockets = WebSocketWall(app.wsgi_app, rest, socketio, has_several_workers=has_several_workers)
    served = DirectIngest(sockets, ego)
    looked_up = AccountLookup(served, ego[Gate])
    latency = Latency(Walls(looked_up, config, ego[Refusals]), {PATH: "metrics.post_batch"})
    app.wsgi_app = latency  # type: ignore[method-assign]
    ego.add(latency)
    ego.add(EgoFigures(ego))
    if with_storage and not monkey.is_module_patched("socket"):
        open_storage(app)
    return app


def _refuse_until_ready() -> None:
    """Answer everything but health, the root certificate and EGO's own figures with 503 until the twin is restored: an answer would lack hosts."""
    readiness = services()[Readiness]
    if not readiness.is_restored and not (request.endpoint or "").startswith(("health.", "tls.", "figures.ego")):
        raise Unavailable(readiness.why_not)


def open_storage(app: Flask) -> None:
    """Open the database, become its only owner, upgrade its schema, restore the twin and the alerts.

    A worker of a cluster takes part in it instead: one of the workers restores the twin. Raises Unavailable if another EGO
    owns the database.
    """
    ego: Services = app.extensions["mirror_stage"]
    storage, cluster = ego[Storage], ego.get(Cluster)
    if cluster is not None and cluster.has_begun:
        return  # it is ready when it shows the frames of the twin's owner
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
        if cluster is not None:
            with migrating(db.engine, ego[Config]):  # one after the other: the first one makes the keys
                ego[Signer].open()
            ego[Enrolment].look()
            ego[RuleBook].look()
            cluster.begin(lambda: _lead(ego))
            return
        ego[Signer].open()
        _lead(ego)


def _lead(ego: Services) -> None:
    """Become the owner of the twin: bring the database up to what this EGO has promised, and restore the twin."""
    ego[Revocations].enforce()
    ego[Revocations].compact()
    ego[CommandService].watch_over(ego[Clock].now())
    ego[CommandService].keep_stopped()
    ego[People].sign_head(ego[Signer].keep_head)
    ego[TrustedTime].check()
    ego[Keeper].begin()
    ego[Enrolment].look()
    ego[RuleBook].look()
    ego[Quiet].look()
    ego[Restorer].restore()
