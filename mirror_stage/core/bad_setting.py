"""The error of a bad setting. EGO and the agent share it; it has a module of its own, so that neither needs the other's libraries."""

from __future__ import annotations


class BadSetting(Exception):
    """A bad setting, which stops the start. The text is one line that names the setting."""
