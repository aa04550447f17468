"""The parts of one running EGO, as `app.py` wires them; `ego` is this application's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from flask import current_app
from werkzeug.local import LocalProxy

if TYPE_CHECKING:
    from mirror_stage.alerts.service import AlertService
    from mirror_stage.clock import Clock
    from mirror_stage.commands.service import CommandService
    from mirror_stage.config import Config
    from mirror_stage.ego_monitor.service import EgoMonitor
    from mirror_stage.history.keeping import Keeper
    from mirror_stage.history.service import HistoryService
    from mirror_stage.owner import Ownership
    from mirror_stage.past.service import Past
    from mirror_stage.pipeline import Pipeline
    from mirror_stage.realtime import Realtime
    from mirror_stage.storage.db import Storage
    from mirror_stage.writer import Writer


@dataclass
class Ego:
    """One server: its settings, its clock and the service of each domain."""

    config: Config
    clock: Clock
    storage: Storage
    realtime: Realtime
    pipeline: Pipeline
    writer: Writer
    alerts: AlertService
    commands: CommandService
    history: HistoryService
    history_keeper: Keeper
    past: Past
    ego_monitor: EgoMonitor
    owner: Ownership
    why_not_ready: str = "EGO is starting"


def current_ego() -> Ego:
    """The Ego of the application that answers this request."""
    return cast("Ego", current_app.extensions["mirror_stage"])


ego: Ego = cast("Ego", LocalProxy(current_ego))
