"""Makes all services of EGO, and gives each the others that it needs: one function for each room, in the order of making.

What a service needs only while it works, it finds then, by `lambda: ego[Owner]…`. So a room may need one that is made later.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

from flask import Flask
from flask_socketio import SocketIO

from mirror_stage.access.gate import Gate
from mirror_stage.access.revocations import Revocations
from mirror_stage.access.service import People
from mirror_stage.alerting.service import Alerting
from mirror_stage.alerts import events as alert_events
from mirror_stage.alerts import rules as alert_rules
from mirror_stage.alerts import store as alerts_store
from mirror_stage.alerts.causes import RETURNING, Causes
from mirror_stage.alerts.domain import Transition, victims, with_hides
from mirror_stage.alerts.rulebook import RuleBook
from mirror_stage.alerts.service import AlertService
from mirror_stage.alerts.state import OpenAlerts
from mirror_stage.backtest.service import BackTest
from mirror_stage.cluster import wire as cluster_wire
from mirror_stage.cluster.service import Cluster
from mirror_stage.cluster.shared_snapshot import SharedSnapshot
from mirror_stage.commands import store as commands_store
from mirror_stage.commands.service import CommandService
from mirror_stage.core.clock import Clock
from mirror_stage.core.config import Config
from mirror_stage.core.instants import SECOND, Instant, to_text
from mirror_stage.core.readiness import Readiness
from mirror_stage.core.turns import Turns
from mirror_stage.disks.service import DiskLevels
from mirror_stage.ego_monitor.service import EgoMonitor, ego_hostname, is_reported_by_agent
from mirror_stage.enrolment import store as enrolment_store
from mirror_stage.enrolment.service import Enrolment
from mirror_stage.figures.loop_lag import LoopLag
from mirror_stage.health.clock_watch import ClockWatch
from mirror_stage.health.service import HealthService
from mirror_stage.history.domain import RAW
from mirror_stage.history.keeping import Keeper
from mirror_stage.history.service import HistoryService
from mirror_stage.metrics.service import Ingest
from mirror_stage.notifications import events as notification_events
from mirror_stage.notifications.database_watch import DatabaseWatch
from mirror_stage.notifications.directory import Directory
from mirror_stage.notifications.heartbeat import Heartbeat
from mirror_stage.notifications.labels import labels_of
from mirror_stage.notifications.secrets import Secrets
from mirror_stage.notifications.sending import Sender
from mirror_stage.notifications.service import Notifier
from mirror_stage.past.domain import Scene
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
from mirror_stage.processes.service import Processes
from mirror_stage.quiet import events as quiet_events
from mirror_stage.quiet.domain import BEGAN, OVER, RETURN, Version
from mirror_stage.quiet.service import Quiet
from mirror_stage.signing.service import Signer
from mirror_stage.storage.db import Storage
from mirror_stage.storage.ownership import Ownership
from mirror_stage.storage.trusted_time import TrustedTime
from mirror_stage.tls.service import ServerCertificate
from mirror_stage.twin import store as twin_store
from mirror_stage.twin.audience import Audience
from mirror_stage.twin.domain import Host
from mirror_stage.twin.frames import Frames
from mirror_stage.twin.service import TwinService
from mirror_stage.twin.state import Twin
from mirror_stage.views.service import Views
from mirror_stage.web.realtime import Realtime
from mirror_stage.web.refusals import Refusals
from mirror_stage.web.services import Services

WAITING_POLLS_MAX = 5_000  # half of the connections that gunicorn.conf.py allows


def wire(app: Flask, config: Config, socketio: SocketIO) -> Services:
    """All services of EGO."""
    ego = Services(config, Clock(), Storage(config), Readiness(), Realtime(socketio), Refusals(), LoopLag())
    _twin(ego)
    _commands(ego, socketio)
    _alerts(ego)
    _pipeline(ego)
    _past(ego)
    _notifications(ego)
    _health(ego, app)
    return ego


def _twin(ego: Services) -> None:
    """The twin, its frames, who sees them, and the port between the edge and the owner of the twin."""
    config = ego[Config]
    twin = Twin(
        hub=config.hub_hostname,
        hub_ip=config.hub_ip,
        ego=ego_hostname(config),
        stale_after_seconds=config.stale_after_seconds,
        offline_after_seconds=config.offline_after_seconds,
    )
    frames = Frames(twin)
    audience = Audience(frames, ego[Realtime], with_diagnostics=config.twin_diagnostics)
    ego.add(twin, frames, audience, Port(), KnownHosts(cluster_wire.to_sample))


def _commands(ego: Services, socketio: SocketIO) -> None:
    """Who may do what; hosts that enrol; the commands and their signatures."""
    config, storage, clock, known, port = ego[Config], ego[Storage], ego[Clock], ego[KnownHosts], ego[Port]
    people, signer = People(storage, clock), Signer(config, clock, enrolment_store.recipient)
    commands = CommandService(
        storage,
        clock,
        ego[Realtime],
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
    revocations = Revocations(
        storage.own,
        clock,
        config.revocations_file,
        (enrolment_store.revoke_again, enrolment_store.REVOKES),
        (commands_store.stop_again, commands_store.CHANGES_DISPATCH),
    )
    gate = Gate(config, socketio, people, enrolment.field_actor_at)
    ego.add(people, signer, ServerCertificate(config), commands, enrolment, revocations, gate)


def _alerts(ego: Services) -> None:
    """The alert rules, the open alerts, and what keeps alerts quiet."""
    config, storage, clock, realtime, twin, frames = (
        ego[Config], ego[Storage], ego[Clock], ego[Realtime], ego[Twin], ego[Frames],
    )  # fmt: skip

    def tell_rules(at: Instant) -> None:
        payload = {"at": to_text(at)}
        realtime.publish(alert_events.NAMESPACE, alert_events.RULES_CHANGED, payload, subject="alert rules", version=at)

    def tell_quiet(change: str, version: Version, now: Instant) -> None:
        realtime.publish(
            alert_events.NAMESPACE,
            quiet_events.SILENCE_UPDATE,
            quiet_events.silence_update(change, version, now, ego[Quiet].grace),
            subject=f"{version.kind} {version.id}",
            version=now if change in {BEGAN, OVER} else version.at,
        )

    def fleet() -> list[Host]:
        if frames.generated_at:
            return frames.hosts()
        found = storage.read(lambda tx: twin_store.load(tx, twin.hub, twin.ego))  # for the command line
        return [host for host, _ in found]

    def hosts_named(names: AbstractSet[str]) -> list[Host]:
        if ego[Owner].is_leading:
            return [twin.hosts_by_name[name] for name in names if name in twin.hosts_by_name]
        return frames.hosts_named(names)

    book = RuleBook(storage, clock, alert_rules.read(config), tell=tell_rules)
    quiet = Quiet(
        storage,
        clock,
        hosts_named=hosts_named,
        fleet=fleet,
        open_alerts=lambda: ego[AlertService].open(),
        rule_names=book.names,
        grace=RETURN + round(config.offline_after_seconds * SECOND),
        kept=config.alerts_kept,
        tell=tell_quiet,
        is_leading=lambda: ego[Owner].is_leading,
        routes_muted_by=lambda tx, name: ego[Directory].routes_muted_by(tx, name),
    )
    ego.add(OpenAlerts(), book, quiet)


def _pipeline(ego: Services) -> None:
    """The way of a sample: the edge commits it, the owner folds it into the twin and judges it, the saver stores what follows.

    Of several workers each has an edge. `Cluster` then takes the place of the owner for all that another worker may own.
    """
    config, storage, clock, twin, frames = ego[Config], ego[Storage], ego[Clock], ego[Twin], ego[Frames]
    known, port, open_alerts, book, quiet = ego[KnownHosts], ego[Port], ego[OpenAlerts], ego[RuleBook], ego[Quiet]
    commands, enrolment = ego[CommandService], ego[Enrolment]
    edge = Edge(storage.samples, known, port, clock, hub=config.hub_hostname, max_hosts=config.max_hosts)

    def tell(transition: Transition) -> None:
        alert = transition.alert
        (shown,) = quiet.shown(with_hides([alert], open_alerts.hidden()))
        ego[Realtime].publish(
            alert_events.NAMESPACE,
            alert_events.ALERT_UPDATE,
            alert_events.alert_update(replace(transition, alert=shown)),
            subject=f"alert {alert.id}",
            version=alert.version,
        )

    outbox = Outbox(tell, Turns().breathe)
    saver = Saver(
        storage.own,
        twin,
        outbox,
        clock,
        is_degraded=lambda: edge.trouble is not None,
        recovered=edge.recovered,
        arrived_until=lambda: ego[Writer].oldest_arrival or clock.now(),
        position=lambda: cluster.stream.position if cluster is not None else None,
        waiting_of=open_alerts.waiting_of,
    )
    owner = Owner(
        twin=twin,
        open_alerts=open_alerts,
        rules=book.in_force,
        frames=frames,
        audience=ego[Audience],
        outbox=outbox,
        saver=saver,
        clock=clock,
        is_listening=lambda: not (edge.is_stuck or ego[Writer].is_full),
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
        ego[Readiness],
        clock,
        enrolment.unverified,
        lambda: cluster is not None and cluster.fold_since_saved(),
        lambda: None if cluster is None else cluster.hear_early(),
    )
    cluster = None
    if config.is_clustered:
        cluster = Cluster(
            config.redis_url or "",
            storage,
            clock,
            ego[Readiness],
            known=known,
            owner=owner,
            saver=saver,
            frames=frames,
            audience=ego[Audience],
            restorer=restorer,
            realtime=ego[Realtime],
            commands=commands,
            alerts_shown=lambda found: ego[AlertService].shown(found),
        )
        ego.add(cluster)
    port.listen(known.hear)
    port.listen(owner.hear if cluster is None else cluster.hear_here)
    remover = Remover(
        storage,
        port,
        clock,
        find=lambda hostname: ego[TwinService].host(hostname),
        record=saver.save if cluster is None else cluster.until_recorded,
        tell_cancelled=commands.publish_all,
    )
    commits = Commits(edge.commit)
    writer = Writer(commits, then=owner.record_and_show)
    ingest = Ingest(
        writer,
        clock,
        config.longest_retention,
        is_known=known.ids_by_hostname.__contains__,
        labels_of=enrolment.labels_of,
    )
    monitor = EgoMonitor(config, writer.submit, lambda: is_reported_by_agent(twin.hosts_by_name.get(twin.ego)), clock)
    ego.add(edge, outbox, saver, owner, restorer, remover, commits, writer, ingest, monitor)
    ego.add(Ownership(config, is_shared=cluster is not None), SharedSnapshot(config.redis_url, frames))


def _past(ego: Services) -> None:
    """The history, what it forecasts, and the twin and its alerts, now and at any moment of the past."""
    config, storage, clock, twin, frames = ego[Config], ego[Storage], ego[Clock], ego[Twin], ego[Frames]
    owner, quiet, cluster = ego[Owner], ego[Quiet], ego.get(Cluster)
    until_recorded = ego[Saver].until_recorded if cluster is None else cluster.until_recorded
    trusted_time = TrustedTime(storage.own, clock, ego_hostname(config))
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
        ego[OpenAlerts],
        until_recorded,
        config.alerts_kept,
        clock,
        tell=lambda alert_id: ego[Port].send(Message(acknowledged=[alert_id])),
        is_here=lambda: owner.is_leading,
        catch_up=(lambda: None) if cluster is None else cluster.refresh,
        shown=quiet.shown,
    )
    twin_service = TwinService(
        frames,
        refresh=owner.refresh if cluster is None else cluster.refresh,
        forget=ego[Remover].remove,
        body_at=past.body,
        is_settled=past.is_settled,
    )
    ego.add(trusted_time, Keeper(storage.own, clock, config.kept_by_resolution, trusted_time.until))
    ego.add(HistoryService(storage, clock, config.kept_by_resolution), past, alerts, twin_service)
    ego.add(DiskLevels(storage, clock, owner.disk_readings, twin.set_forecasts))
    ego.add(Views(storage, clock))
    ego.add(Processes(storage, clock, owner.process_readings, config.kept_by_resolution[RAW.name]))
    ego.add(BackTest(storage, clock, twin.limits, hub=twin.hub, ego=twin.ego))


def _notifications(ego: Services) -> None:
    """Who is told of alerts, over which channels."""
    config, storage, clock, realtime, twin = ego[Config], ego[Storage], ego[Clock], ego[Realtime], ego[Twin]
    open_alerts, owner, quiet = ego[OpenAlerts], ego[Owner], ego[Quiet]
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
    notifier = Notifier(
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
    )
    watch = DatabaseWatch(
        clock,
        directory,
        sender,
        ego=twin.ego,
        is_there=storage.latency_ms,
        alerts=open_alerts.all,
        is_leading=lambda: owner.is_leading,
    )
    ego.add(directory, sender, notifier, watch, Heartbeat(config.heartbeat_url, clock))
    ego.add(Alerting(storage, clock, directory, ego[RuleBook], quiet))


def _health(ego: Services, app: Flask) -> None:
    """What readiness says."""
    keeper, trusted_time, edge, cluster = ego[Keeper], ego[TrustedTime], ego[Edge], ego.get(Cluster)
    clock_watch = ClockWatch(ego[Storage], ego[Clock])
    health = HealthService(
        ego[Config],
        ego[Storage],
        ego[Readiness],
        history_engine=lambda: keeper.engine,
        writer=lambda: ego[Writer].check(edge.trouble),
        history=lambda: _history_check(keeper, trusted_time),
        scheduler=lambda: _scheduler_check(app),
        refused=ego[Refusals].check,
        cluster=None if cluster is None else cluster.check,
        clock=clock_watch.check,
        tls=ego[ServerCertificate].check,
        agents=ego[Enrolment].check,
        signing=ego[Signer].check,
        dispatch=ego[CommandService].dispatch_check,
        notifications=ego[Sender].check,
        describe=lambda: {
            "twinId": ego[Frames].twin_id,
            "ego": ego[Twin].ego,
            "rules": ego[RuleBook].in_force,
            "dispatch": ego[CommandService].dispatch_shown(),
        },
    )
    ego.add(clock_watch, health)


def _scheduler_check(app: Flask) -> dict[str, Any]:
    """Whether the jobs run. Without gevent there is no scheduler."""
    scheduler = app.extensions.get("mirror_stage_scheduler")
    return scheduler.check() if scheduler is not None else {"ok": False, "detail": "not running"}


def _history_check(keeper: Keeper, trusted_time: TrustedTime) -> dict[str, Any]:
    """How far the history is rolled up, and why EGO keeps expired history if it does not trust its clock."""
    found = keeper.check()
    return found if trusted_time.doubt is None else {"ok": False, "detail": f"{found['detail']}; {trusted_time.doubt}"}
