"""What stops the start of EGO and of the agent alike. Its own module, because neither imports the other's libraries."""

from __future__ import annotations


class BadSetting(Exception):
    """A setting that nothing can start with; the text is one line that names it."""
