"""How a command asks a running EGO over its REST: the EGO that `--ego` names, else the one whose settings are here.

EGO's own settings say where it listens and which certificate it shows. Where it asks everybody for a credential, the command
makes a token in EGO's database, as `tokens create` does, and revokes it at its end.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mirror_stage.core.bad_setting import BadSetting
from mirror_stage.core.trust import Trust
from mirror_stage.runtime.db_commands import say
from mirror_stage.runtime.steps import on_services
from mirror_stage.simulator import command_line

if TYPE_CHECKING:
    from mirror_stage.access.domain import Actor
    from mirror_stage.core.config import Config
    from mirror_stage.simulator.client import Client
    from mirror_stage.web.services import Services

CONNECT_SECONDS = 5.0
TOKEN_LASTS = 3_600_000  # ms; the longest command takes ten minutes
Work = Callable[["Client"], int]


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which EGO is asked."""
    parser.add_argument(
        "--ego", metavar="URL", help="default: the EGO whose settings are here, or http://127.0.0.1:3000"
    )
    command_line.add_access(parser)


def ask(chosen: argparse.Namespace, role: str, work: Work) -> int:
    """Let `work` ask EGO with the rights of a role. Returns its exit status, or 1 if EGO does not answer. Raises BadSetting."""
    if chosen.ego is not None or chosen.token_file is not None or chosen.ca is not None or chosen.pin is not None:
        chosen.ego = chosen.ego or "http://127.0.0.1:3000"
        return _asked(chosen.ego, *command_line.access_of(chosen), work)
    from mirror_stage.runtime import service_settings  # here: the agent's wheel has this module, but not that one

    service_settings.adopt()
    from mirror_stage.runtime.serving import read_settings

    settings = read_settings()
    address, trust = _own_address(settings), _own_trust(settings)
    if not settings.has_locks:
        return _asked(address, trust, None, work)
    if trust is None:
        _must_be_of_ego(address, settings)
    ended: list[int] = []

    def with_token(ego: Services, actor: Actor) -> None:
        from mirror_stage.access.service import People

        people = ego[People]
        token, row = people.create_token(
            actor, role=role, hostname=None, note="of one use of the command line", lasts=TOKEN_LASTS
        )
        try:
            ended.append(_asked(address, trust, token, work))
        finally:
            people.revoke(row.id, actor)

    return on_services(with_token) or ended[0]


def _asked(address: str, trust: Trust | None, token: str | None, work: Work) -> int:
    from mirror_stage.simulator.client import BadAddress, Client, Unanswered

    try:
        client = Client(address, trust, token)
    except BadAddress as error:
        raise BadSetting(str(error)) from error
    with closing(client):
        try:
            return work(client)
        except Unanswered as why:
            return say(f"{address} does not answer ({why}); is EGO running there?", 1)


def _own_address(settings: Config) -> str:
    """Where EGO listens, as this machine reaches it. Raises BadSetting."""
    if settings.bind.startswith("unix:"):
        raise BadSetting(f"EGO listens on {settings.bind}: say with --ego where its proxy listens")
    loopback = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
    name = loopback.get(settings.bind.strip("[]"), settings.bind)
    scheme = "https" if settings.has_tls else "http"
    return f"{scheme}://{f'[{name}]' if ':' in name and '[' not in name else name}:{settings.port}"


def _must_be_of_ego(address: str, settings: Config) -> None:
    """Raise BadSetting if another account listens at EGO's address: over plain HTTP it would get the token."""
    from mirror_stage.access.peers import Peers, own_uids

    parts, folder = urlsplit(address), settings.authority_folder
    own = own_uids() | ({folder.stat().st_uid} if folder.exists() else set())
    with contextlib.suppress(OSError):  # nobody listens: the command will say so
        with socket.create_connection((parts.hostname or "", parts.port or 80), CONNECT_SECONDS) as connection:
            connection.sendall(b"HEAD /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            connection.recv(1)  # now its server has accepted it, so the kernel knows whose it is
            can_tell, uid = Peers().opened(connection)
        if can_tell and uid not in own:
            raise BadSetting(
                f"another account (uid {'unknown' if uid is None else uid}) listens at {address}, and would get the token: start EGO, or name it with --ego"
            )


def _own_trust(settings: Config) -> Trust | None:
    """EGO's own key, over https. Raises BadSetting."""
    if not settings.has_tls:
        return None
    from mirror_stage.tls.service import ServerCertificate

    shown = ServerCertificate(settings).existing()
    if shown is None:
        raise BadSetting("EGO has no certificate yet: start it once")
    return Trust(pin=shown.certificate.pin)
