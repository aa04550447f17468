"""Wires all parts of EGO together: `create_app` builds the application, `open_storage` opens the database and restores the twin."""

from __future__ import annotations

import logging
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

import flask_migrate
from flask import Flask, request
from flask_socketio import SocketIO
from gevent import monkey

from mirror_stage.access import gate
from mirror_stage.access.gate import AccountLookup, Gate, Sockets
from mirror_stage.access.revocations import Revocations
from mirror_stage.access.routes import blp as access_blp
from mirror_stage.access.service import People
from mirror_stage.alerting.routes import blp as alerting_blp
from mirror_stage.alerting.service import Alerting
from mirror_stage.alerts import events as alert_events
from mirror_stage.alerts import rules as alert_rules
from mirror_stage.alerts import store as alerts_store
from mirror_stage.alerts.causes import RETURNING, Causes
from mirror_stage.alerts.domain import Alert, Transition, victims, with_hides
from mirror_stage.alerts.routes import blp as alerts_blp
from mirror_stage.alerts.routes import host_rules_blp, rules_blp
from mirror_stage.alerts.rulebook import RuleBook
from mirror_stage.alerts.service import AlertService
from mirror_stage.alerts.sockets import register as register_alerts
from mirror_stage.alerts.state import OpenAlerts
from mirror_stage.backtest.routes import blp as backtest_blp
from mirror_stage.backtest.service import BackTest
from mirror_stage.cluster import wire
from mirror_stage.cluster.service import Cluster
from mirror_stage.cluster.shared_snapshot import SharedSnapshot
from mirror_stage.commands import store as commands_store
from mirror_stage.commands.routes import blp as commands_blp
from mirror_stage.commands.routes import dispatch_blp, field_blp
from mirror_stage.commands.service import CommandService
from mirror_stage.commands.sockets import register as register_commands
from mirror_stage.core.clock import Clock
from mirror_stage.core.config import Config, from_environment
from mirror_stage.core.instants import SECOND, Instant, to_text
from mirror_stage.core.problems import Unavailable
from mirror_stage.core.readiness import Readiness
from mirror_stage.core.shipped import path_of
from mirror_stage.disks.routes import blp as disks_blp
from mirror_stage.disks.service import DiskLevels
from mirror_stage.ego_monitor.service import EgoMonitor, ego_hostname, is_reported_by_agent
from mirror_stage.enrolment import store as enrolment_store
from mirror_stage.enrolment.routes import blp as enrolment_blp
from mirror_stage.enrolment.service import Enrolment
from mirror_stage.exporter.ego import EgoFigures
from mirror_stage.exporter.routes import blp as figures_blp
from mirror_stage.exporter.routes import targets_blp
from mirror_stage.figures.loop_lag import LoopLag
from mirror_stage.health.clock_watch import ClockWatch
from mirror_stage.health.routes import blp as health_blp
from mirror_stage.health.service import HealthService
from mirror_stage.history.keeping import Keeper
from mirror_stage.history.routes import blp as history_blp
from mirror_stage.history.routes import hosts_blp as host_history_blp
from mirror_stage.history.service import HistoryService
from mirror_stage.hud.routes import blp as hud_blp
from mirror_stage.installer.routes import blp as installer_blp
from mirror_stage.metrics.direct import PATH, DirectIngest
from mirror_stage.metrics.routes import blp as metrics_blp
from mirror_stage.metrics.service import Ingest
from mirror_stage.notifications import events as notification_events
from mirror_stage.notifications.database_watch import DatabaseWatch
from mirror_stage.notifications.directory import Directory
from mirror_stage.notifications.heartbeat import Heartbeat
from mirror_stage.notifications.labels import labels_of
from mirror_stage.notifications.routes import blp as notifications_blp
from mirror_stage.notifications.secrets import Secrets
from mirror_stage.notifications.sending import Sender
from mirror_stage.notifications.service import Notifier
from mirror_stage.past.domain import Scene
from mirror_stage.past.routes import blp as past_blp
from mirror_stage.past.routes import hosts_blp as host_past_blp
from mirror_stage.past.service import Past
from mirror_stage.pipeline.commits import Commits
from mirror_stage.pipeline.edge import Edge
from mirror_stage.pipeline.known_hosts import KnownHosts
from mirror_stage.pipeline.outbox import Outbox
from mirror_stage.pipeline.owner import Owner
from mirror_stage.pipeline.port import Message, Port
from mirror_stage.pipeline.removing import Remover
from mirror_stage.pipeline.restore import Restorer
from mirror_stage.pipeline.saving import Saver
from mirror_stage.pipeline.writer import Writer
from mirror_stage.quiet import events as quiet_events
from mirror_stage.quiet.domain import BEGAN, OVER, RETURN, Version
from mirror_stage.quiet.routes import blp as quiet_blp
from mirror_stage.quiet.service import Quiet
from mirror_stage.signing.service import Signer
from mirror_stage.storage import migrate
from mirror_stage.storage.db import Base, Storage, Tx, db, engine_options
from mirror_stage.storage.ownership import Ownership, migrating
from mirror_stage.storage.trusted_time import TrustedTime
from mirror_stage.tls.routes import blp as tls_blp
from mirror_stage.tls.service import ServerCertificate
from mirror_stage.twin import store as twin_store
from mirror_stage.twin.audience import Audience
from mirror_stage.twin.domain import Host
from mirror_stage.twin.frames import Frames
from mirror_stage.twin.routes import blp as twin_blp
from mirror_stage.twin.routes import hosts_blp
from mirror_stage.twin.service import TwinService
from mirror_stage.twin.sockets import register as register_twin
from mirror_stage.twin.state import Twin
from mirror_stage.web import answers, http
from mirror_stage.web.latency import Latency
from mirror_stage.web.openapi import init_api
from mirror_stage.web.realtime import CLIENT_TO_SERVER_MAX, Realtime, WebSocketWall
from mirror_stage.web.refusals import Refusals
from mirror_stage.web.services import Services, services
from mirror_stage.web.walls import Walls

log = logging.getLogger(__name__)

WAITING_POLLS_MAX = 5_000  # half of the connections that gunicorn.conf.py allows
BLUEPRINTS = (
    health_blp, tls_blp, metrics_blp, twin_blp, hosts_blp, host_history_blp, history_blp, past_blp, host_past_blp, disks_blp,
    alerts_blp, rules_blp, host_rules_blp, backtest_blp, quiet_blp, notifications_blp, alerting_blp, commands_blp, field_blp,
    dispatch_blp, access_blp, enrolment_blp, figures_blp, targets_blp,
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


def _wire(app: Flask, config: Config, socketio: SocketIO) -> Services:
    """All services of EGO, each with the others that it depends on."""
    clock, storage, readiness, realtime = Clock(), Storage(config), Readiness(), Realtime(socketio)
    refusals, people, certificate = Refusals(), People(storage, clock), ServerCertificate(config)
    signer = Signer(config, clock, enrolment_store.recipient)
    open_alerts = OpenAlerts()
    book = RuleBook(
        storage,
        clock,
        alert_rules.read(config),
        tell=lambda at: realtime.publish(
            alert_events.NAMESPACE, alert_events.RULES_CHANGED, {"at": to_text(at)}, subject="alert rules", version=at
        ),
    )
    twin = Twin(
        hub=config.hub_hostname,
        hub_ip=config.hub_ip,
        ego=ego_hostname(config),
        stale_after_seconds=config.stale_after_seconds,
        offline_after_seconds=config.offline_after_seconds,
    )
    frames = Frames(twin)
    audience = Audience(frames, realtime, with_diagnostics=config.twin_diagnostics)
    port, known = Port(), KnownHosts(wire.to_sample)
    commands = CommandService(
        storage,
        clock,
        realtime,
        signer,
        policy_of=known.policy_of,
        last_poll_of=known.last_poll_of,
        polled=lambda hostname, at: port.send(Message(polls={hostname: at})),
        stranger=enrolment_store.stranger if config.has_locks else lambda *_: None,
        waiters_max=WAITING_POLLS_MAX,
    )
    enrolment = Enrolment(
        storage,
        clock,
        people,
        tell_cancelled=commands.publish_all,
        signing_root=lambda: signer.root,
        wake=commands.look_again_at,
    )
    edge = Edge(storage.samples, known, port, clock, hub=config.hub_hostname, max_hosts=config.max_hosts)

    def tell(transition: Transition) -> None:
        alert = transition.alert
        (shown,) = quiet.shown(with_hides([alert], open_alerts.hidden()))
        payload = alert_events.alert_update(replace(transition, alert=shown))
        realtime.publish(
            alert_events.NAMESPACE,
            alert_events.ALERT_UPDATE,
            payload,
            subject=f"alert {alert.id}",
            version=alert.version,
        )

    def tell_quiet(change: str, version: Version, now: Instant) -> None:
        payload = quiet_events.silence_update(change, version, now, quiet.grace)
        realtime.publish(
            alert_events.NAMESPACE,
            quiet_events.SILENCE_UPDATE,
            payload,
            subject=f"{version.kind} {version.id}",
            version=now if change in {BEGAN, OVER} else version.at,
        )

    def fleet() -> list[Host]:
        if frames.generated_at:
            return frames.hosts()
        return [
            host for host, _ in storage.read(lambda tx: twin_store.load(tx, twin.hub, twin.ego))
        ]  # the command line

    def hosts_named(names: AbstractSet[str]) -> list[Host]:
        if owner.is_leading:
            return [twin.hosts_by_name[name] for name in names if name in twin.hosts_by_name]
        return frames.hosts_named(names)

    def routes_muted_by(tx: Tx, name: str) -> list[str]:
        return directory.routes_muted_by(tx, name)

    def open_now() -> list[Alert]:
        return alerts.open()

    quiet = Quiet(
        storage,
        clock,
        hosts_named=hosts_named,
        fleet=fleet,
        open_alerts=open_now,
        rule_names=book.names,
        grace=RETURN + round(config.offline_after_seconds * SECOND),
        kept=config.alerts_kept,
        tell=tell_quiet,
        is_leading=lambda: owner.is_leading,
        routes_muted_by=routes_muted_by,
    )
    outbox = Outbox(tell)
    saver = Saver(
        storage.own,
        twin,
        outbox,
        clock,
        is_degraded=lambda: edge.trouble is not None,
        recovered=edge.recovered,
        arrived_until=lambda: writer.oldest_arrival or clock.now(),
        position=lambda: cluster.stream.position if cluster is not None else None,
        waiting_of=open_alerts.waiting_of,
    )
    owner = Owner(
        twin=twin,
        open_alerts=open_alerts,
        rules=book.in_force,
        frames=frames,
        audience=audience,
        outbox=outbox,
        saver=saver,
        clock=clock,
        is_listening=lambda: not (edge.is_stuck or writer.is_full),
        acks=lambda: storage.own.read(alerts_store.acks),
        causes=Causes(
            twin.hosts_by_name,
            ego=twin.ego,
            hub=twin.hub,
            patience=RETURNING + round(config.offline_after_seconds * SECOND),
            ego_uplink=config.ego_uplink,
            uplinks=alert_rules.uplinks(config),
        ),
    )
    book.change = owner.change_rules
    restorer = Restorer(
        storage.own,
        owner,
        known,
        frames,
        readiness,
        clock,
        enrolment.unverified,
        lambda: cluster is not None and cluster.fold_since_saved(),
    )
    cluster: Cluster | None = None
    if config.is_clustered:
        cluster = Cluster(
            config.redis_url or "",
            storage,
            clock,
            readiness,
            known=known,
            owner=owner,
            saver=saver,
            frames=frames,
            audience=audience,
            restorer=restorer,
            realtime=realtime,
            commands=commands,
            alerts_shown=lambda found: alerts.shown(found),  # noqa: PLW0108 - it is made further down
        )
    port.listen(known.hear)
    port.listen(owner.hear if cluster is None else cluster.hear_here)
    refresh = owner.refresh if cluster is None else cluster.refresh
    until_recorded = saver.until_recorded if cluster is None else cluster.until_recorded
    remover = Remover(
        storage,
        port,
        clock,
        find=lambda hostname: twin_service.shown().host(hostname),
        record=saver.save if cluster is None else cluster.until_recorded,
        tell_cancelled=commands.publish_all,
    )
    commits = Commits(edge.commit)
    writer = Writer(commits, then=owner.record_and_show)
    clock_watch = ClockWatch(storage, clock)
    trusted_time = TrustedTime(storage.own, clock, ego_hostname(config))
    keeper = Keeper(storage.own, clock, config.kept_by_resolution, trusted_time.until)
    past = Past(
        storage,
        clock,
        Scene(twin.hub, twin.hub_ip, twin.role_of, twin.status_after),
        kept_by_resolution=config.kept_by_resolution,
        until_recorded=until_recorded,
        twin_id=lambda: frames.twin_id,
        alerts_shown=lambda then, hosts, at: quiet.shown_at(with_hides(then, victims(then)), hosts, at),
        watcher=ego_hostname(config),
        watched_every=config.ego_monitor_interval_ms,
    )
    alerts = AlertService(
        storage,
        open_alerts,
        until_recorded,
        config.alerts_kept,
        clock,
        tell=lambda alert_id: port.send(Message(acknowledged=[alert_id])),
        is_here=lambda: owner.is_leading,
        shown=quiet.shown,
    )
    twin_service = TwinService(
        frames, refresh=refresh, forget=remover.remove, body_at=past.body, is_settled=past.is_settled
    )
    directory = Directory(storage, clock, Secrets(config), quiet.mute_time_names)
    sender = Sender(
        storage,
        clock,
        directory,
        url=config.public_url or config.page_address,
        kept=config.alerts_kept,
        mode=config.notify,
        is_leading=lambda: owner.is_leading,
        tell=lambda one, now: realtime.publish(
            *notification_events.delivery_update(one), subject=f"delivery {one.id}", version=now
        ),
    )
    return Services(
        config,
        Gate(config, socketio, people, enrolment.field_actor_at),
        people,
        Revocations(
            storage.own,
            clock,
            config.revocations_file,
            (enrolment_store.revoke_again, enrolment_store.REVOKES),
            (commands_store.stop_again, commands_store.CHANGES_DISPATCH),
        ),
        clock,
        storage,
        readiness,
        realtime,
        refusals,
        certificate,
        signer,
        frames,
        Ownership(config, is_shared=cluster is not None),
        cluster,
        SharedSnapshot(config.redis_url, frames),
        audience,
        owner,
        remover,
        saver,
        outbox,
        commits,
        LoopLag(),
        restorer,
        writer,
        Ingest(
            writer,
            clock,
            config.longest_retention,
            is_known=known.ids_by_hostname.__contains__,
            labels_of=enrolment.labels_of,
        ),
        twin_service,
        directory,
        sender,
        Heartbeat(config.heartbeat_url),
        DatabaseWatch(
            clock,
            directory,
            sender,
            ego=twin.ego,
            is_there=storage.latency_ms,
            alerts=open_alerts.all,
            is_leading=lambda: owner.is_leading,
        ),
        Notifier(
            storage.own,
            clock,
            labels_of=lambda hostname: labels_of(hostname, twin.hosts_by_name.get(hostname)),
            routes=lambda: directory.routes,
            open_alert=lambda key: open_alerts.of(key[0]).get((key[1], key[2])),
            tell=lambda group, now: realtime.publish(
                *notification_events.group_update(group, now), subject=f"group {group.id}", version=group.version
            ),
            mode=config.notify,
            quiet_reasons=quiet.reasons,
            grouped=open_alerts.set_groups,
            muted=quiet.muted,
        ),
        alerts,
        quiet,
        book,
        Alerting(storage, clock, directory, book, quiet),
        commands,
        enrolment,
        HistoryService(storage, clock, config.kept_by_resolution),
        DiskLevels(storage, clock, owner.disk_readings, twin.set_forecasts),
        BackTest(storage, clock, twin.limits, hub=twin.hub, ego=twin.ego),
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
            cluster=None if cluster is None else cluster.check,
            clock=clock_watch.check,
            tls=certificate.check,
            agents=enrolment.check,
            signing=signer.check,
            dispatch=commands.dispatch_check,
            notifications=sender.check,
            describe=lambda: {
                "twinId": frames.twin_id,
                "ego": twin.ego,
                "rules": book.in_force,
                "dispatch": commands.dispatch_shown(),
            },
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
