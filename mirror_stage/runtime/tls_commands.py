"""`mirror-stage tls …`: the certificate that EGO shows, and what clients have to trust."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from mirror_stage.core.instants import to_text
from mirror_stage.runtime.db_commands import say

if TYPE_CHECKING:
    from mirror_stage.tls.service import ServerCertificate, Shown


def add_to(commands: Any) -> None:
    """Add `tls` and its subcommands to a parser's commands."""
    tls = commands.add_parser(
        "tls", help="the certificate that EGO shows", description="Look after the certificate that EGO shows for https."
    )
    steps = tls.add_subparsers(title="commands", metavar="command", required=True)
    show = steps.add_parser(
        "show",
        help="print whose certificate it is, until when, and what clients trust",
        description="Print whether EGO speaks https, its certificate, fingerprint and pin, and what a client has to trust.",
    )
    show.add_argument("--json", action="store_true", help="print it as JSON")
    show.set_defaults(run=_show, of_service=True)
    renew = steps.add_parser(
        "renew",
        help="issue a new server certificate now",
        description=(
            "Issue a new server certificate with EGO's own authority; the first time, make the authority. The keys stay, so "
            "clients go on trusting it. A running EGO shows it to new connections within ten seconds."
        ),
    )
    renew.set_defaults(run=_renew, of_service=True)
    root = steps.add_parser(
        "root",
        help="print the root certificate that clients trust",
        description="Print the certificate of EGO's own authority as PEM: mirror-stage tls root > ego-root.pem.",
    )
    root.set_defaults(run=_root, of_service=True)


def _certificate() -> ServerCertificate:
    from mirror_stage.core import config
    from mirror_stage.tls.service import ServerCertificate

    return ServerCertificate(config.from_environment())


def _show(chosen: argparse.Namespace) -> int:
    from mirror_stage.core import config

    has_tls, certificate = config.from_environment().has_tls, _certificate()
    shown = certificate.existing()
    about = {"tls": has_tls, "certificate": _described(shown), "trouble": shown and certificate.trouble_of(shown)}
    if chosen.json:
        print(json.dumps(about, indent=2, ensure_ascii=False))
        return 0
    print("EGO speaks https" if has_tls else "EGO speaks plain HTTP; see MIRROR_STAGE_TLS in config/ego.env.example")
    if shown is None:
        print("there is no certificate yet: the first start with https makes it, and so does: mirror-stage tls renew")
    for name, value in _described(shown).items():
        print(f"{name.ljust(17)}  {', '.join(value) if isinstance(value, list) else value}")
    if about["trouble"]:
        say(str(about["trouble"]), 0)
    return 0


def _described(shown: Shown | None) -> dict[str, Any]:
    """What a person compares and a client needs, empty without a certificate."""
    if shown is None:
        return {}
    server, root = shown.certificate, shown.root
    return {
        "file": str(shown.chain),
        "issuer": server.issuer,
        "names": list(server.names),
        "from": to_text(int(server.begins) * 1000),
        "until": to_text(int(server.ends) * 1000),
        "fingerprint": server.fingerprint,
        "pin": server.pin,
        **({} if root is None else {"rootUntil": to_text(int(root.ends) * 1000), "rootFingerprint": root.fingerprint}),
        **({} if root is None else {"rootPin": root.pin}),
        "clientsTrust": shown.trusted_by,
    }


def _renew(_chosen: argparse.Namespace) -> int:
    shown = _certificate().renew()
    print(
        f"{shown.chain}: until {to_text(int(shown.certificate.ends) * 1000)}, for {', '.join(shown.certificate.names)}"
    )
    return 0


def _root(_chosen: argparse.Namespace) -> int:
    from mirror_stage.core import config

    certificate = _certificate()
    if certificate.is_own_files:
        return say("EGO shows your own certificate (MIRROR_STAGE_TLS_CERT): clients trust whoever issued it", 1)
    pem = certificate.root_pem()
    if pem is None:
        folder = config.from_environment().authority_folder
        return say(f"there is no authority in {folder} yet: run this command in the folder where EGO runs", 1)
    sys.stdout.write(pem.decode())
    return 0
