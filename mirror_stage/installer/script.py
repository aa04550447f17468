"""Fills in the script `enroll.sh`."""

from __future__ import annotations

import re
from pathlib import Path

from mirror_stage.core.trust import is_private
from mirror_stage.installer.wheels import WheelSet

TEMPLATE = (Path(__file__).parent / "enroll.sh").read_text(encoding="utf-8")
_SAFE = re.compile(r"[A-Za-z0-9:/.,_+=\[\]-]*\Z")  # safe in single quotes of the shell, and for sed, curl and wget


def script(ego: str, pin: str | None, wheels: WheelSet) -> str:
    """The script for a host that reached EGO at this address. Raises ValueError if it cannot be written safely."""
    plain = "" if is_private(ego) else "--allow-plain true"
    values = {
        "EGO": ego,
        "PIN": pin or "",
        "TRUST": '--pin "$pin"' if pin else plain,
        "AGENT": wheels.agent,
        "AGENT_SHA256": wheels.sha256[wheels.agent],
        "TOMLI": wheels.tomli,
        "TOMLI_SHA256": wheels.sha256[wheels.tomli],
    }
    for name, value in values.items():
        if name != "TRUST" and not _SAFE.match(value):
            raise ValueError(f"{name} has a character that does not belong there: {value!r}")
    values["PSUTIL"] = "\n".join(
        f"    {kind}) fetch '{name}' {wheels.sha256[name]} ;;" for kind, name in wheels.psutil.items()
    )
    return re.sub("@([A-Z_0-9]+)@", lambda found: values[found[1]], TEMPLATE)
