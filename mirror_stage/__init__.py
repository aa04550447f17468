"""MIRROR STAGE EGO: a live digital twin of a private network.

Importing this package imports nothing else: the agent in `mirror_stage.reflector` runs where Flask is not installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mirror_stage.app import create_app

__all__ = ["create_app"]


def __getattr__(name: str) -> Any:
    """`create_app`, imported when somebody asks for it; so `flask --app mirror_stage` works too."""
    if name == "create_app":
        from mirror_stage.app import create_app

        return create_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
