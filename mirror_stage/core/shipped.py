"""Finds the files of EGO that are not Python modules, in a checkout or in an installed wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_PLACES = (_PACKAGE / "_shipped", _PACKAGE.parent)  # an installed wheel has the first, a checkout only the second


def path_of(name: str) -> Path:
    """The path of `gunicorn.conf.py`, `wsgi.py`, `migrations` or a file in `config/`. Raises FileNotFoundError."""
    for place in _PLACES:
        if (place / name).exists():
            return place / name
    raise FileNotFoundError(f"{name} is missing from this installation; looked in {_PLACES[0]} and {_PLACES[1]}")
