"""The jobs of EGO: what each does, and how often the scheduler runs it."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

import gevent

from mirror_stage.access.domain import job
from mirror_stage.access.gate import Gate
from mirror_stage.access.revocations import Revocations
from mirror_stage.access.service import People
from mirror_stage.alerts.rulebook import RuleBook
from mirror_stage.alerts.service import AlertService
from mirror_stage.cluster.service import Cluster
from mirror_stage.cluster.shared_snapshot import SharedSnapshot
from mirror_stage.commands.service import CommandService
from mirror_stage.core.clock import Clock
from mirror_stage.core.config import Config
from mirror_stage.core.readiness import Readiness
from mirror_stage.disks.service import DiskLevels
from mirror_stage.ego_monitor.service import EgoMonitor
from mirror_stage.enrolment.service import Enrolment
from mirror_stage.health.clock_watch import ClockWatch
from mirror_stage.history.keeping import Keeper
from mirror_stage.notifications.database_watch import DatabaseWatch
from mirror_stage.notifications.directory import Directory
from mirror_stage.notifications.heartbeat import Heartbeat
from mirror_stage.notifications.sending import Sender
from mirror_stage.notifications.service import Notifier
from mirror_stage.past.service import Past
from mirror_stage.pipeline.owner import Owner
from mirror_stage.pipeline.saving import Saver
from mirror_stage.processes.service import Processes
from mirror_stage.quiet.service import Quiet
from mirror_stage.signing.service import Signer
from mirror_stage.storage.db import Storage
from mirror_stage.storage.ownership import Ownership
from mirror_stage.storage.trusted_time import TrustedTime
from mirror_stage.twin.audience import Audience
from mirror_stage.web.realtime import Realtime
from mirror_stage.web.services import Services

log = logging.getLogger(__name__)

SAVE_SECONDS = 3.0  # a save writes a row for each host that reported; a start folds the samples that came after it


@dataclass(frozen=True, slots=True)
class Job:
    """A function that the scheduler runs every `every_seconds` after the start, if `is_enabled`.

    Of several workers, only the owner of the twin runs a job with `is_owners`. All others run in each worker.
    """

    run: Callable[[Services], object]
    every_seconds: Callable[[Config], float]
    is_owners: bool = True
    is_enabled: Callable[[Config], bool] = lambda _config: True

    @property
    def name(self) -> str:
        return self.run.__name__


def keep_ownership(ego: Services) -> None:
    """Check that this process still owns the database. If another EGO owns it, end this worker: the next one is a standby.

    PostgreSQL drops the lock with its connection. While the database is away, no EGO can own it.
    """
    engine = ego[Storage].engine
    if engine is not None and not ego[Ownership].take(engine):
        log.error("another EGO has taken this database over while it was away; this one starts anew and waits")
        os.kill(os.getpid(), signal.SIGTERM)  # gunicorn starts another worker in its place


def tick(ego: Services) -> None:
    """Send one frame to every browser. Store the changes of alerts in a greenlet, because it may wait for the database."""
    if not ego[Owner].is_leading:
        ego[Audience].show(ego[Clock].now())  # of the owner's newest frame
        return
    ego[Owner].tick()
    gevent.spawn(_record, ego)


def _record(ego: Services) -> None:
    try:
        ego[Saver].record()
    except Exception:
        log.exception("alerts were not recorded; it is tried again")


def sweep(ego: Services) -> None:
    """Mark silent hosts as stale, then as offline."""
    ego[Owner].sweep()


def look_at_acks(ego: Services) -> None:
    """Take up who acknowledges alerts at any worker, and end what is over."""
    ego[Owner].look_at_acks()


def look_at_rules(ego: Services) -> None:
    """Judge by the alert rules that somebody has changed at another worker."""
    ego[RuleBook].look()


def save(ego: Services) -> None:
    """Write the hosts that changed to the database."""
    ego[Saver].save()


def watch_over_commands(ego: Services) -> None:
    """Expire commands that no agent claimed in time, and report commands with an expired lease as lost."""
    ego[CommandService].watch_over(ego[Clock].now(), job("watch_over_commands"))


def keep_dispatch_stopped(ego: Services) -> None:
    """While dispatch is stopped, end every command; tell clients when it was stopped or resumed at the command line."""
    ego[CommandService].keep_stopped(job("keep_dispatch_stopped"), ends_commands=ego[Owner].is_leading)


def look_at_signing_keys(ego: Services) -> None:
    """Renew the online key when that is due, and load one that the command line has made."""
    ego[Signer].look()


def sign_audit_head(ego: Services) -> None:
    """Sign where the audit stands, if it has gone on."""
    ego[People].sign_head(ego[Signer].keep_head)


def look_for_pending_commands(ego: Services) -> None:
    """Wake agents that poll while a command is pending for them."""
    ego[CommandService].look_for_pending()


def enforce_revocations(ego: Services) -> None:
    """Cut the clients, and wake the waiting agents, whose token or session is not valid any more. Note what was revoked."""
    clients = list(ego[Gate].clients())
    commands = ego[CommandService]
    ended = ego[People].ended({credential for _, _, credential in clients} | commands.credentials_waiting())
    for namespace, sid, credential in clients:
        if credential in ended:
            ego[Realtime].cut(namespace, sid)
    commands.look_again_for(ended)
    ego[People].keep_up()
    if ego[Owner].is_leading:
        ego[Revocations].note()


def prune_people(ego: Services) -> None:
    """Remove sessions, credentials and rows of the audit that are past their time."""
    ego[People].prune(ego[TrustedTime].until())


def look_after_agents(ego: Services) -> None:
    """Learn what the command line has changed of agents; remove hosts that wait and ask no more."""
    ego[Enrolment].look()


def prune_agents(ego: Services) -> None:
    """Remove revoked agents and ended codes that are past their time."""
    ego[Enrolment].prune(ego[TrustedTime].until())


def prune_commands(ego: Services) -> None:
    """Remove commands that ended more than 30 days ago."""
    ego[CommandService].prune(ego[TrustedTime].until())


def keep_history(ego: Services) -> None:
    """Roll up closed buckets, compute dirty ones anew, prune old rows."""
    if ego[Readiness].is_restored:
        ego[TrustedTime].check()
        ego[Keeper].keep()


def prune_alerts(ego: Services) -> None:
    """Remove ended alerts that are past their retention, or beyond the largest number that EGO keeps."""
    ego[AlertService].prune(ego[TrustedTime].until())


def notify(ego: Services) -> None:
    """Put what happened to alerts into groups, store what has to be sent about them, and send what is due."""
    if ego[Readiness].is_restored:
        ego[Directory].look()
        ego[Notifier].step()
        ego[Sender].send_due()


def look_at_deliveries(ego: Services) -> None:
    """Learn for readiness which channels are in trouble."""
    ego[Sender].look()


def watch_the_database(ego: Services) -> None:
    """Tell people from memory when the database is away for long, and when it is back."""
    ego[DatabaseWatch].look()


def prune_deliveries(ego: Services) -> None:
    """Remove groups and messages that are past the retention of alerts."""
    ego[Sender].prune(ego[TrustedTime].until())


def beat(ego: Services) -> None:
    """Tell the watcher of EGO that it lives and that its database answers."""
    if ego[Readiness].is_restored:
        ego[Storage].latency_ms()
        ego[Heartbeat].beat()


def look_at_silences(ego: Services) -> None:
    """Learn of silences, maintenance and mute times that another process has changed; tell which have begun or are over."""
    ego[Quiet].look()


def prune_silences(ego: Services) -> None:
    """Remove silences, maintenance and mute times that have not counted for as long as ended alerts are kept."""
    ego[Quiet].prune(ego[TrustedTime].until())


def look_at_disks(ego: Services) -> None:
    """Note how full the disks are, and when they will be full."""
    if ego[Readiness].is_restored:
        ego[DiskLevels].look()


def prune_disks(ego: Services) -> None:
    """Remove how full disks were more than 90 days ago."""
    ego[DiskLevels].prune(ego[TrustedTime].until())


def note_processes(ego: Services) -> None:
    """Note which processes use most of each host in the minute that has begun."""
    if ego[Readiness].is_restored:
        ego[Processes].look()


def prune_processes(ego: Services) -> None:
    """Remove the processes of minutes that are past the retention of samples."""
    ego[Processes].prune(ego[TrustedTime].until())


def prune_past(ego: Services) -> None:
    """Remove identities of hosts that are older than the oldest tier, and hosts that have no rows left."""
    ego[Past].prune(ego[TrustedTime].until())


def observe_ego(ego: Services) -> None:
    """Take one sample of EGO's own machine."""
    ego[EgoMonitor].observe()


def look_at_the_clock(ego: Services) -> None:
    """Note the difference between the machine's clock and EGO's, while there is one."""
    ego[ClockWatch].look()


def catch_up(ego: Services) -> None:
    """Fold the samples of other workers that are not in the cluster's stream."""
    cluster = ego.get(Cluster)
    if cluster is not None:
        cluster.catch_up()


def share_snapshot(ego: Services) -> None:
    """Keep the newest snapshot in Redis."""
    ego[SharedSnapshot].share()


def every(seconds: float) -> Callable[[Config], float]:
    """A period in seconds that no setting changes."""
    return lambda _config: seconds


JOBS: tuple[Job, ...] = (
    Job(keep_ownership, every(1), is_owners=False),
    Job(tick, every(0.25), is_owners=False),
    Job(sweep, every(1)),
    Job(look_at_acks, every(1)),
    Job(look_at_rules, every(1), is_owners=False),
    Job(save, every(SAVE_SECONDS)),
    Job(watch_over_commands, every(1)),
    Job(keep_dispatch_stopped, every(1), is_owners=False),
    Job(look_for_pending_commands, every(2), is_owners=False),
    Job(look_at_signing_keys, every(10), is_owners=False),
    Job(sign_audit_head, every(3600)),
    Job(enforce_revocations, every(1), is_owners=False),
    Job(prune_commands, every(3600)),
    Job(prune_people, every(3600)),
    Job(look_after_agents, every(2), is_owners=False),
    Job(prune_agents, every(3600)),
    Job(keep_history, every(5)),
    Job(prune_alerts, every(600)),
    Job(notify, every(1)),
    Job(look_at_deliveries, every(10)),
    Job(watch_the_database, every(5)),
    Job(prune_deliveries, every(3600)),
    Job(beat, lambda config: config.heartbeat_seconds, is_enabled=lambda config: config.heartbeat_url is not None),
    Job(look_at_silences, every(1), is_owners=False),
    Job(prune_silences, every(3600)),
    Job(look_at_disks, every(10)),
    Job(prune_disks, every(3600)),
    Job(note_processes, every(10)),
    Job(prune_processes, every(600)),
    Job(prune_past, every(3600)),
    Job(look_at_the_clock, every(10), is_owners=False),
    Job(catch_up, every(2)),
    Job(share_snapshot, every(2), is_enabled=lambda config: config.redis_url is not None and not config.testing),
    Job(
        observe_ego,
        lambda config: config.ego_monitor_interval_ms / 1000,
        is_enabled=lambda config: config.ego_monitor_enabled,
    ),
)
