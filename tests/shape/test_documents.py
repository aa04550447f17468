"""Everything that can be set, called or heard is documented; what is shipped equals what is built in."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from mirror_stage.access.permissions import PERMISSION_BY_ROUTE
from mirror_stage.app import create_app
from mirror_stage.core import config
from mirror_stage.core.config import Config
from mirror_stage.hud.words import WORDS
from mirror_stage.runtime import cli
from mirror_stage.simulator.fleet import make_fleet

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = (ROOT / "docs/contract.md").read_text()


@pytest.mark.parametrize("variable", config.VARIABLES)
def test_every_setting_is_documented(variable: str) -> None:
    short = variable.replace("MIRROR_STAGE_", "…_", 1)
    assert variable in CONTRACT or short in CONTRACT
    assert variable in (ROOT / "config/ego.env.example").read_text()


def test_every_route_has_a_permission_and_stands_in_openapi() -> None:
    app = create_app(Config(testing=True))
    paths = app.test_client().get("/api/openapi.json").json["paths"]
    for rule in app.url_map.iter_rules():
        assert rule.endpoint in PERMISSION_BY_ROUTE, rule
        if rule.rule.startswith("/api/") and rule.endpoint != "api-docs.openapi_json":
            documented = rule.rule.replace("<", "{").replace(">", "}")
            methods = {method.lower() for method in rule.methods or ()} - {"head", "options"}
            assert methods <= set(paths[documented]), rule
    assert set(PERMISSION_BY_ROUTE) == {rule.endpoint for rule in app.url_map.iter_rules()}


def events() -> set[str]:
    """Every Socket.IO event that is sent or understood."""
    names: set[str] = set()
    for path in (ROOT / "mirror_stage").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "on_event":
                assert isinstance(node.args[0], ast.Constant)
                names.add(str(node.args[0].value))
    return names - {"connect", "disconnect"}


def test_every_event_is_documented() -> None:
    understood = events()
    assert {"subscribe", "seen", "resync", "watch-host", "watch-command"} <= understood
    for event in understood | {
        "twin-state",
        "twin-snapshot",
        "twin-delta",
        "host-detail",
        "command-update",
        "command-output",
        "alert-update",
        "rules-changed",
        "group-update",
        "delivery-update",
    }:
        assert event in CONTRACT, event


def test_every_file_that_contributing_names_exists() -> None:
    named = re.findall(r"`([\w./-]+\.(?:py|ts|svelte|md|toml|example))`", (ROOT / "CONTRIBUTING.md").read_text())
    roots = [ROOT, ROOT / "mirror_stage", ROOT / "tests", ROOT / "mirror_stage/hud/web/src"]
    of_each_domain = {"routes.py", "schemas.py", "service.py", "store.py", "events.py", "sockets.py"}
    assert len(named) > 50
    for name in set(named) - of_each_domain:
        assert any((root / name).exists() for root in roots), f"CONTRIBUTING.md names {name}, which does not exist"


def test_contributing_names_every_file_of_the_metric_that_is_its_example() -> None:
    section = (ROOT / "CONTRIBUTING.md").read_text().split("**A metric**")[1].split("**A route**")[0]
    named = re.findall(r"`([\w./-]+[./][\w./-]*)`", section)
    files = [
        *ROOT.glob("*.md"),
        *(path for room in ("docs", "migrations", "mirror_stage", "tests") for path in (ROOT / room).rglob("*.*")),
    ]
    written = [
        path.relative_to(ROOT).as_posix()
        for path in files
        if path.suffix in {".json", ".md", ".py", ".svelte", ".ts"}
        and not {"node_modules", "static"} & set(path.parts)
        and path.name not in {"CONTRIBUTING.md", Path(__file__).name}
        and re.search("disk_read_bytes|diskReadBytes", path.read_text())
    ]
    assert len(written) > 20
    for file in written:
        assert any(f"/{file}".endswith(f"/{name}") or (name[-1] == "/" and name in file) for name in named), file


def test_every_page_that_the_index_names_exists() -> None:
    for page in re.findall(r"\]\(([^)]+)\)", (ROOT / "docs/README.md").read_text()):
        assert (ROOT / "docs" / page).exists(), page


def test_no_document_installs_us_from_a_public_index() -> None:
    """No public index has this project: whoever registers its name there would own the machines of our users."""
    documents = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *(path for path in ROOT.glob("config/**/*") if path.is_file()),
    ]
    assert len(documents) > 8
    for path in documents:
        by_name = re.findall(r"pip install (?:[^\n`]* )?mirror[-_]stage(?:\s|$)", path.read_text())
        assert not by_name, f"{path.name}: {by_name}"


def code_and_headings(page: str) -> tuple[list[str], list[str]]:
    """The lines of code without their comments, and the level of each heading, of a page in Markdown."""
    blocks = re.split(r"^```.*$", (ROOT / page).read_text(), flags=re.MULTILINE)
    code = [re.sub(r"\s+# .*$", "", line) for block in blocks[1::2] for line in block.splitlines()]
    headings = [level for prose in blocks[::2] for level in re.findall(r"^(#+) ", prose, flags=re.MULTILINE)]
    return code, headings


def test_the_korean_readme_has_the_code_and_the_headings_of_the_english_one() -> None:
    code, headings = code_and_headings("README.md")
    assert "make run" in code
    assert len(headings) > 5
    assert code_and_headings("README.ko.md") == (code, headings)


def test_both_readmes_name_the_same_pages_and_link_to_each_other() -> None:
    def links(page: str) -> set[str]:
        return set(re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()))

    assert links("README.md") - {"README.ko.md"} == links("README.ko.md") - {"README.md"}
    assert "README.ko.md" in links("README.md")
    assert "README.md" in links("README.ko.md")


def test_korean_texts_have_no_word_that_contributing_forbids() -> None:
    """The HUD's own texts are checked in dictionaries.test.ts."""
    table = (ROOT / "CONTRIBUTING.md").read_text().split("| English | Korean | never |")[1].split("\n\n")[0]
    never = [word for word in re.findall(r"`([^`]+)`", table) if not word.isascii()]
    assert "띠" in never
    for text in ((ROOT / "README.ko.md").read_text(), *WORDS["ko"].values()):
        found = [word for word in never if word in text]
        assert not found, text[:80]


def long_lines(path: Path) -> list[int]:
    """The numbers of the lines of prose in a page in Markdown that are longer than 300 characters."""
    found, is_code = [], False
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif not is_code and not line.startswith("|") and len(line) > 300:
            found.append(number)
    return found


@pytest.mark.parametrize("page", ["README.md", *sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))])
def test_no_line_of_prose_is_longer_than_300_characters(page: str) -> None:
    assert not long_lines(ROOT / page), f"{page} has long lines: wrap them, or make a list of them"


@pytest.mark.parametrize("page", ["README.md", "README.ko.md"])
def test_the_racks_of_the_examples_are_in_the_demo(page: str) -> None:
    demo = vars(cli._parser().parse_args(["demo"]))
    racks = {machine.rack for machine in make_fleet(demo["hosts"], seed=7).machines}
    named = re.findall(r"rack:(\w+)", (ROOT / page).read_text())
    assert named
    assert set(named) <= racks
