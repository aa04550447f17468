"""All SQL of the twin: register, save, load and remove hosts and their identities."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import orjson
from sqlalchemy import Connection, RowMapping, Table, delete, exists, func, select, text, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from mirror_stage.core.instants import Instant
from mirror_stage.metrics.domain import Sample, believed_place
from mirror_stage.metrics.measures import OF_SAMPLE, names_of
from mirror_stage.storage.rows import REPLACE, insert_rows
from mirror_stage.twin.domain import Host, Identity, Role, fold, gone, identity_of
from mirror_stage.twin.geometry import ORIGIN, Place, place
from mirror_stage.twin.models import HostDetails, HostIdentity, HostMetrics
from mirror_stage.twin.throughput import LinkRates, utilization_ratio

_HOSTS: Table = HostMetrics.__table__  # type: ignore[assignment]
_DETAILS: Table = HostDetails.__table__  # type: ignore[assignment]
_IDENTITIES: Table = HostIdentity.__table__  # type: ignore[assignment]
_FROM_SAMPLE = (
    "reported_at", "received_at", "at", "agent_version", "platform", "command_policy", "agent_instance",
    "primary_interface", "rack", *names_of(OF_SAMPLE),
)  # fmt: skip
_SAVED = (
    "id", "hostname", "ip", "first_seen_at", "last_seen_at", "last_poll_at", "tags", "place_x", "place_y", "place_z",
    "position_x", "position_y", "position_z", "tx_gbps", "rx_gbps", "interval_ms", *_FROM_SAMPLE,
)  # fmt: skip
_IDENTITY = tuple(column.name for column in _IDENTITIES.columns)


def register(tx: Connection, firsts_by_hostname: Mapping[str, Sample | None], hub: str) -> dict[str, tuple[int, Place]]:
    """The (id, place) of each hostname. A new host gets the next id, a permanent place and a row with its first sample.

    A host that was removed comes back with its id and place.
    """
    wanted = select(
        _HOSTS.c.id, _HOSTS.c.hostname, _HOSTS.c.removed_at, _HOSTS.c.place_x, _HOSTS.c.place_y, _HOSTS.c.place_z
    )
    wanted = wanted.where(_HOSTS.c.hostname.in_(list(firsts_by_hostname)))
    known = {row["hostname"] for row in tx.execute(wanted).mappings()}
    unknown = [{"hostname": hostname} for hostname in firsts_by_hostname if hostname not in known]
    if unknown:
        dialect = postgresql if tx.dialect.name == "postgresql" else sqlite
        tx.execute(dialect.insert(_HOSTS).on_conflict_do_nothing(), unknown)
    found: dict[str, tuple[int, Place]] = {}
    placed: list[Host] = []
    returned: list[Host] = []
    for row in tx.execute(wanted).mappings().all():
        hostname, first, spot = row["hostname"], firsts_by_hostname[row["hostname"]], _place(row)
        if spot is None:
            spot = ORIGIN if hostname == hub else place(first.rack if first is not None else None, row["id"])
            placed.append(_with_first(Host(row["id"], hostname, Role.HOST, spot), first))
        elif row["removed_at"] is not None:
            returned.append(_with_first(Host(row["id"], hostname, Role.HOST, spot), first))
        found[hostname] = (row["id"], spot)
    save(tx, placed)
    if returned:
        tx.execute(update(_HOSTS).where(_HOSTS.c.id.in_([host.id for host in returned])).values(removed_at=None))
    save_identities(tx, [identity_of(host, host.sample, None) for host in placed + returned if host.sample is not None])
    return found


def _with_first(host: Host, first: Sample | None) -> Host:
    """A host that came, after its first sample."""
    return fold(host, first)[0] if first is not None else host


def _place(row: RowMapping) -> Place | None:
    if row["place_x"] is None:
        return None
    return (row["place_x"], row["place_y"], row["place_z"])


def save(tx: Connection, hosts: Collection[Host]) -> None:
    """Write the rows of hosts."""
    insert_rows(tx, _HOSTS, _SAVED, [_row(host) for host in hosts], REPLACE)


def _row(host: Host) -> tuple[Any, ...]:
    sample = host.sample
    own = sample.position if sample is not None and sample.position is not None else (None, None, None)
    tags = json.dumps(dict(sample.tags), ensure_ascii=False) if sample is not None and sample.tags else None
    rates = (host.rates.tx_gbps, host.rates.rx_gbps) if host.rates is not None else (None, None)
    return (
        host.id, host.hostname, host.ip, host.first_seen_at, host.last_seen_at, host.last_poll_at, tags, *host.place, *own, *rates,
        host.interval, *(getattr(sample, name) if sample is not None else None for name in _FROM_SAMPLE),
    )  # fmt: skip


def save_details(tx: Connection, samples_by_id: Mapping[int, str], now: Instant) -> None:
    """Write the details (JSON) of hosts, by host id."""
    rows = [(host_id, now, sample) for host_id, sample in samples_by_id.items()]
    insert_rows(tx, _DETAILS, ("host_id", "saved_at", "sample"), rows, REPLACE)


def load(
    tx: Connection, hub: str, ego: str, *, after: int = 0, most: int | None = None
) -> list[tuple[Host, str | None]]:
    """Every saved host that was not removed, with its details (JSON), by id. The hub is there even without a sample.

    With `most` only so many, and those after the id `after`.
    """
    statement = select(_HOSTS, _DETAILS.c.sample).join(_DETAILS, _DETAILS.c.host_id == _HOSTS.c.id, isouter=True)
    wanted = statement.where(_HOSTS.c.removed_at.is_(None), _HOSTS.c.place_x.is_not(None), _HOSTS.c.id > after)
    rows = tx.execute(wanted.order_by(_HOSTS.c.id).limit(most)).mappings()
    return [(_host(row, hub, ego), row["sample"]) for row in rows]


def ids(tx: Connection) -> list[tuple[str, int]]:
    """(hostname, id) of every host that was not removed."""
    wanted = select(_HOSTS.c.hostname, _HOSTS.c.id).where(_HOSTS.c.removed_at.is_(None))
    return [(row.hostname, row.id) for row in tx.execute(wanted)]


def registered(tx: Connection, hostnames: Collection[str]) -> dict[str, tuple[int, Place]]:
    """(id, place) of those of these hosts that have a place and were not removed, by hostname."""
    columns = _HOSTS.c.hostname, _HOSTS.c.id, _HOSTS.c.place_x, _HOSTS.c.place_y, _HOSTS.c.place_z
    wanted = select(*columns).where(_HOSTS.c.hostname.in_(list(hostnames)), _HOSTS.c.removed_at.is_(None))
    rows = [(row, _place(row)) for row in tx.execute(wanted).mappings()]
    return {row["hostname"]: (row["id"], place) for row, place in rows if place is not None}


def removed_of(tx: Connection, hostnames: Collection[str]) -> list[str]:
    """Those of these hosts that are removed."""
    wanted = select(_HOSTS.c.hostname).where(_HOSTS.c.hostname.in_(list(hostnames)), _HOSTS.c.removed_at.is_not(None))
    return list(tx.execute(wanted).scalars())


def _host(row: RowMapping, hub: str, ego: str) -> Host:
    hostname = row["hostname"]
    sample = _sample(row) if row["at"] is not None else None
    rates = LinkRates(row["tx_gbps"], row["rx_gbps"]) if sample is not None and row["tx_gbps"] is not None else None
    utilization = utilization_ratio(rates, row["net_capacity_gbps"])
    return Host(
        id=row["id"],
        hostname=hostname,
        role=Role.of(hostname, hub, ego),
        place=_place(row) or ORIGIN,
        ip=row["ip"],
        first_seen_at=row["first_seen_at"],
        sample=sample,
        last_seen_at=row["last_seen_at"],
        last_poll_at=row["last_poll_at"],
        rates=rates,
        utilization=utilization,
        interval=row["interval_ms"],
    )


def _sample(row: RowMapping) -> Sample:
    own = (row["position_x"], row["position_y"], row["position_z"])
    values = {name: row[name] for name in _FROM_SAMPLE}
    return Sample(
        hostname=row["hostname"],
        ip=row["ip"],
        tags=json.loads(row["tags"]) if row["tags"] else None,
        position=believed_place(*own),
        is_whole=False,
        **values,
    )


def remove(tx: Connection, host_id: int, now: Instant) -> None:
    """Mark a host as removed. Its row stays, because its history needs the name."""
    tx.execute(update(_HOSTS).where(_HOSTS.c.id == host_id).values(removed_at=now))
    save_identities(tx, [gone(host_id, now)])


def make_synthetic(tx: Connection, host_id: int) -> None:
    """Save a host without a sample: the hub that nobody reports."""
    tx.execute(update(_HOSTS).where(_HOSTS.c.id == host_id).values(removed_at=None, at=None, last_seen_at=None))


def save_identities(tx: Connection, identities: Iterable[Identity]) -> None:
    """Write identities."""
    insert_rows(tx, _IDENTITIES, _IDENTITY, [_identity_row(identity) for identity in identities], REPLACE)


def _identity_row(identity: Identity) -> tuple[Any, ...]:
    own = identity.position or (None, None, None)
    tags = json.dumps(dict(identity.tags), ensure_ascii=False) if identity.tags else None
    return (
        identity.host_id, identity.since, identity.is_present, identity.counts_from, identity.clock_offset, identity.ip, tags,
        identity.rack, *own, identity.agent_version, identity.platform, identity.memory_total_bytes, identity.net_capacity_gbps,
        identity.interval,
    )  # fmt: skip


def identities_at(tx: Connection, at: Instant) -> list[tuple[str, Place, Identity]]:
    """(hostname, computed place, identity) of every host that was in the twin at an instant, ordered by id."""
    others = _IDENTITIES.alias("others")
    of_host = others.c.host_id == _HOSTS.c.id
    first = select(func.min(others.c.since)).where(of_host).correlate(_HOSTS).scalar_subquery()
    newest = select(func.max(others.c.since)).where(of_host, others.c.since <= at).correlate(_HOSTS).scalar_subquery()
    in_force = (_IDENTITIES.c.host_id == _HOSTS.c.id) & (_IDENTITIES.c.since == newest)
    wanted = select(
        _HOSTS.c.hostname,
        _HOSTS.c.place_x,
        _HOSTS.c.place_y,
        _HOSTS.c.place_z,
        first,
        *(_IDENTITIES.c[name] for name in _IDENTITY),
    ).join_from(_HOSTS, _IDENTITIES, in_force)
    rows = tx.execute(wanted.where(_IDENTITIES.c.is_present).order_by(_HOSTS.c.id)).all()
    return [(row[0], (row[1], row[2], row[3]), _identity(row[4:])) for row in rows]


def _identity(row: Any) -> Identity:
    (
        first,
        host_id,
        since,
        is_present,
        counts_from,
        offset,
        ip,
        tags,
        rack,
        x,
        y,
        z,
        version,
        platform,
        memory,
        speed,
        interval,
    ) = row
    if counts_from <= first:
        counts_from = 0  # no sample came before it
    return Identity(
        host_id, since, is_present, counts_from, offset, ip, orjson.loads(tags) if tags else None, rack,
        None if x is None else (x, y, z), version, platform, memory, speed, interval,
    )  # fmt: skip


def comings_and_goings(tx: Connection, start: Instant, end: Instant) -> list[tuple[int, Instant, bool]]:
    """(host id, instant, whether the host is there from then on) of every identity that began in (start, end], by time."""
    since = _IDENTITIES.c.since
    wanted = select(_IDENTITIES.c.host_id, since, _IDENTITIES.c.is_present).where(since > start, since <= end)
    return [tuple(row) for row in tx.execute(wanted.order_by(since, _IDENTITIES.c.host_id))]  # type: ignore[misc]


def turns_of(tx: Connection, host_id: int) -> list[tuple[Instant, bool]]:
    """(instant, whether the host is there from then on) of every identity of a host, by time."""
    wanted = select(_IDENTITIES.c.since, _IDENTITIES.c.is_present).where(_IDENTITIES.c.host_id == host_id)
    return [tuple(row) for row in tx.execute(wanted.order_by(_IDENTITIES.c.since))]  # type: ignore[misc]


def prune_identities(tx: Connection, kept_since: Instant, most: int) -> int:
    """Delete up to `most` identities that were replaced by another one before `kept_since`. Returns how many."""
    later = _IDENTITIES.alias("later")
    followed = exists().where(
        later.c.host_id == _IDENTITIES.c.host_id, later.c.since > _IDENTITIES.c.since, later.c.since <= kept_since
    )
    key = (_IDENTITIES.c.host_id, _IDENTITIES.c.since)
    over = select(*key).where(_IDENTITIES.c.since < kept_since, followed).limit(most)
    return tx.execute(delete(_IDENTITIES).where(tuple_(*key).in_(over.subquery().select()))).rowcount


def heard_since(tx: Connection, since: Instant) -> list[tuple[str, str | None]]:
    """Name and agent version of the hosts whose newest sample came since then, by name."""
    heard = select(_HOSTS.c.hostname, _HOSTS.c.agent_version).where(
        _HOSTS.c.received_at >= since, _HOSTS.c.removed_at.is_(None)
    )
    return [(row.hostname, row.agent_version) for row in tx.execute(heard.order_by(_HOSTS.c.hostname))]


def prune_hosts(tx: Connection, kept_since: Instant, most: int) -> int:
    """Delete up to `most` hosts that were removed before `kept_since` and have no rollups left. Returns how many."""
    gone_before = _HOSTS.c.removed_at < kept_since
    no_rollups = (text(f"NOT EXISTS (SELECT 1 FROM {table} r WHERE r.host_id = host_metrics.id)") for table in _ROLLUPS)
    wanted = select(_HOSTS.c.id).where(gone_before, *no_rollups).limit(most)
    ids = list(tx.execute(wanted).scalars())
    for table, key in ((_IDENTITIES, _IDENTITIES.c.host_id), (_DETAILS, _DETAILS.c.host_id), (_HOSTS, _HOSTS.c.id)):
        tx.execute(delete(table).where(key.in_(ids)))
    return len(ids)


_ROLLUPS = ("host_metrics_1m", "host_metrics_15m")
