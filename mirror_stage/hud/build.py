"""The files of the HUD that Vite built: the file and encoding for a request, and the id of the build."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

FOLDER = Path(__file__).parent / "static"
ENCODINGS = {"br": ".br", "gzip": ".gz"}  # the better one first; the build wrote each file in both


@dataclass(frozen=True)
class File:
    """One file of the build in one encoding ('' means not compressed)."""

    path: Path
    mimetype: str
    encoding: str


class Build:
    """The files of a build in one folder. If a new build replaces it while EGO runs, EGO serves the new one at once."""

    def __init__(self, folder: Path):
        self._folder = folder

    @property
    def is_there(self) -> bool:
        """Whether the HUD was built."""
        return (self._folder / "index.html").is_file()

    @property
    def id(self) -> str:
        """The id of the build, by which an open page notices a newer one. Empty if there is no build."""
        page = self._folder / "index.html"  # it refers to every other file by the hash of its content
        return hashlib.sha256(page.read_bytes()).hexdigest()[:8] if page.is_file() else ""

    def file(self, name: str, accepted: Container[str]) -> File | None:
        """The file of a name (`assets/index-1a2b.js`), compressed if the client accepts that. None if there is no such file."""
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
