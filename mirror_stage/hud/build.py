"""The HUD as Vite built it: which file answers a request, in which encoding, and what identifies the build."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

FOLDER = Path(__file__).parent / "static"
ENCODINGS = {"br": ".br", "gzip": ".gz"}  # the better first; the build wrote each file in both


@dataclass(frozen=True)
class File:
    """One file of the build, in one encoding ('' as it is)."""

    path: Path
    mimetype: str
    encoding: str


class Build:
    """The files below one folder. A build that replaces another while EGO runs is served at once."""

    def __init__(self, folder: Path):
        self._folder = folder

    @property
    def is_there(self) -> bool:
        """Whether the HUD was built."""
        return (self._folder / "index.html").is_file()

    @property
    def id(self) -> str:
        """What differs between two builds, so that an open page notices a newer one; empty where none is."""
        page = self._folder / "index.html"  # it names every other file by the hash of its content
        return hashlib.sha256(page.read_bytes()).hexdigest()[:8] if page.is_file() else ""

    def file(self, name: str, accepted: Container[str]) -> File | None:
        """The file of a name (`assets/index-1a2b.js`), compressed if the client takes that; None if there is none."""
        parts = PurePosixPath(name).parts
        path = self._folder.joinpath(*parts)
        if ".." in parts or path.suffix in ENCODINGS.values() or not path.is_file():
            return None
        mimetype = mimetypes.guess_type(name)[0] or "application/octet-stream"
        for encoding, suffix in ENCODINGS.items():
            packed = path.with_name(path.name + suffix)
            if encoding in accepted and packed.is_file():
                return File(packed, mimetype, encoding)
        return File(path, mimetype, "")


BUILD = Build(FOLDER)
