"""Recognises a server that would serve EGO's application without ever starting EGO. Such a start is refused."""

from __future__ import annotations

import os
import sys
from collections.abc import Container, Mapping, Sequence

ADVICE = "run mirror-stage serve, or in a checkout: gunicorn -c gunicorn.conf.py wsgi:app"
GUNICORN_STOPS = 4  # gunicorn starts a worker that ends with another status again and again

_HOOKS = "mirror_stage.runtime.serving"  # gunicorn.conf.py imports it
_SERVERS = {"gunicorn.arbiter": "gunicorn", "uwsgi": "uWSGI", "mod_wsgi": "mod_wsgi", "waitress.server": "waitress"}


def server_refusal(modules: Container[str], words: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """Why the server of this process cannot run EGO, in one line; None if it can, or if this process is no server.

    `modules` are those that are imported, `words` the command line.
    """
    if _HOOKS in modules:
        return None
    server = next((name for module, name in _SERVERS.items() if module in modules), None)
    if server is None and environment.get("FLASK_RUN_FROM_CLI") == "true" and "run" in words:
        server = "flask run"
    if server == "gunicorn":
        return f"this is gunicorn without EGO's gunicorn.conf.py: {ADVICE}"
    return None if server is None else f"this is {server}, which does not start EGO: {ADVICE}"


def refuse() -> None:
    """End this process with one line if its server cannot run EGO."""
    why = server_refusal(sys.modules, sys.argv[1:], os.environ)
    if why is not None:
        print(f"mirror-stage: {why}", file=sys.stderr)
        sys.exit(GUNICORN_STOPS if "gunicorn.arbiter" in sys.modules else 2)
