"""The two text formats of Prometheus: which one a client wants, and the parts that have to be escaped. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

PLAIN, OPENMETRICS = "text/plain", "application/openmetrics-text"
CONTENT_TYPE = {
    PLAIN: "text/plain; version=0.0.4; charset=utf-8",
    OPENMETRICS: "application/openmetrics-text; version=1.0.0; charset=utf-8",
}
END = "# EOF\n"  # of OpenMetrics: without it a scraper cannot tell a whole answer from half of one
_VERSIONS = {PLAIN: {"", "0.0.4"}, OPENMETRICS: {"", "1.0.0"}}
_VALUE = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})


def chosen_format(accepted: Iterable[tuple[str, float]]) -> str:
    """PLAIN or OPENMETRICS: what a client prefers by the (media range, quality) pairs of its `Accept` header.

    OpenMetrics only if it is named. Who accepts neither gets PLAIN: a person can read it.
    """
    wanted = {PLAIN: 0.0, OPENMETRICS: 0.0}
    for media_range, quality in accepted:
        kind, *parameters = (part.strip().lower() for part in media_range.split(";"))
        given = dict(part.partition("=")[::2] for part in parameters)
        for name in (PLAIN, OPENMETRICS):
            if kind == name and given.get("version", "").strip('"') in _VERSIONS[name]:
                wanted[name] = max(wanted[name], quality)
    return OPENMETRICS if wanted[OPENMETRICS] and wanted[OPENMETRICS] >= wanted[PLAIN] else PLAIN


def label(name: str, value: str) -> str:
    """`name="value"`, with the characters escaped that end a value or a line."""
    if "\\" in value or '"' in value or "\n" in value:  # rare, and `translate` takes ten times as long as to look
        value = value.translate(_VALUE)
    return f'{name}="{value}"'


def labels(values: Mapping[str, str | None]) -> str:
    """These labels, joined by commas, without those that are unknown or empty: an empty label is none."""
    return ",".join([label(name, value) for name, value in values.items() if value])


def head(name: str, kind: str, meaning: str, form: str) -> str:
    """The lines HELP and TYPE of a family. `name` is that of its samples; a counter's ends in `_total`."""
    family = name.removesuffix("_total") if form == OPENMETRICS and kind == "counter" else name
    return f"# HELP {family} {meaning.translate(_HELP)}\n# TYPE {family} {kind}\n"
