"""`mirror-stage signing …`: the keys with which EGO signs what it tells agents."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from mirror_stage.core.instants import to_text
from mirror_stage.runtime.db_commands import say

if TYPE_CHECKING:
    from mirror_stage.signing.keys import KeyFolder, Keys


def add_to(commands: Any) -> None:
    """Add `signing` and its subcommands to a parser's commands."""
    signing = commands.add_parser(
        "signing",
        help="the keys that commands are signed with",
        description="Look after the keys with which EGO signs what it tells agents.",
    )
    steps = signing.add_subparsers(title="commands", metavar="command", required=True)
    show = steps.add_parser(
        "show",
        help="print the key that agents pin",
        description="Print the root key, which agents have as ego_signing_key, and the time in which the online key is valid.",
    )
    show.add_argument("--json", action="store_true", help="print it as JSON")
    show.set_defaults(run=_show, of_service=True)
    rotate = steps.add_parser(
        "rotate",
        help="make a new online key now",
        description=(
            "Make a new online key and certify it with the root's key, which must be in the folder. No agent has to be told. A "
            "running EGO signs with it within ten seconds."
        ),
    )
    rotate.set_defaults(run=_rotate, of_service=True)


def _folder() -> KeyFolder:
    from mirror_stage.core import config
    from mirror_stage.signing.keys import KeyFolder

    return KeyFolder(config.from_environment().authority_folder)


def _show(chosen: argparse.Namespace) -> int:
    from mirror_stage.core.clock import Clock
    from mirror_stage.signing.service import trouble_of

    folder = _folder()
    keys = folder.existing()
    if keys is None:
        return _no_keys(folder)
    about, trouble = _described(folder, keys), trouble_of(keys, Clock().now(), str(folder.folder))
    if chosen.json:
        print(json.dumps(about | {"trouble": trouble}, indent=2, ensure_ascii=False))
        return 0
    for name, value in about.items():
        print(f"{name.ljust(13)}  {value}")
    if trouble:
        say(trouble, 0)
    return 0


def _described(folder: KeyFolder, keys: Keys) -> dict[str, Any]:
    from mirror_stage.core.signed import to_text64

    return {
        "folder": str(folder.folder),
        "rootKey": to_text64(keys.root),
        "rootKeyIsHere": keys.has_root_key,
        "onlineFrom": to_text(keys.about.begins),
        "onlineUntil": to_text(keys.about.ends),
    }


def _rotate(_chosen: argparse.Namespace) -> int:
    from mirror_stage.core.clock import Clock

    folder = _folder()
    if folder.root() is None:
        return _no_keys(folder)
    print(f"EGO signs with a new online key, until {to_text(folder.ensure(Clock().now(), anew=True).about.ends)}")
    return 0


def _no_keys(folder: KeyFolder) -> int:
    return say(f"there are no keys in {folder.folder} yet: the first start of EGO makes them", 1)
