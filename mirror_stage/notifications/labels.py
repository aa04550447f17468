"""What a selector sees of a host of the twin."""

from __future__ import annotations

from mirror_stage.core.selector import Labels
from mirror_stage.twin.domain import Host


def labels_of(hostname: str, host: Host | None) -> Labels:
    """The labels of a host; of one that the twin does not have, its name alone."""
    if host is None:
        return Labels(hostname)
    sample = host.sample
    return Labels(
        hostname,
        ip=host.ip,
        rack=sample.rack if sample is not None else None,
        room=host.tags.get("room"),
        role=host.role,
        tier=host.tags.get("tier"),
        platform=sample.platform if sample is not None else None,
        tags=host.tags,
    )
