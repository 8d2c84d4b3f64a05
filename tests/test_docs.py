"""README and docs: tables equal the committed records, commands exist, links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fuxictr_loopfm.cli import COMMANDS, build_parser
from fuxictr_loopfm.experiment.leaderboard_render import render_table
from fuxictr_loopfm.experiment.paper_render import to_markdown
from fuxictr_loopfm.experiment.paper_table import load_table
from fuxictr_loopfm.experiment.record import read_records

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"<!-- leaderboard (\S+) (\S+) -->\n(.*?)<!-- /leaderboard -->", re.DOTALL)


@pytest.mark.parametrize(
    ("dataset_id", "model", "table"), BLOCK.findall(README), ids=lambda value: value[:30]
)
def test_readme_tables_are_derived_from_the_committed_records(
    dataset_id: str, model: str, table: str
) -> None:
    records = read_records([ROOT / "benchmark_configs" / dataset_id / "records.jsonl"])
    assert table.strip() == render_table(records, model).strip()


def test_readme_shows_both_sizes_on_kuairand_and_the_quickstart() -> None:
    shown = {(dataset_id, model) for dataset_id, model, _ in BLOCK.findall(README)}
    assert shown == {
        ("KuaiRandPure_s1", "DeepFM"),
        ("KuaiRandPure_s1", "DeepFM:small"),
        ("MovieLens100K_s1", "DeepFM"),
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme_and_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"`{command}`" in README
    with pytest.raises(SystemExit):
        build_parser().parse_args([command, "--help"])
    assert f"example: loopfm {command} " in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("target", re.findall(r"make ([a-z]+)", README))
def test_make_targets_that_the_readme_names_exist(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_that_documents_name_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    folders = "fuxictr_loopfm|model_zoo|benchmark_configs|data_prep|docs|tests"
    named = re.findall(rf"(?<![\w/<])((?:{folders})/[\w./-]*\w)", text)
    missing = sorted(name for name in set(named) if not (ROOT / name).exists())
    assert missing == []


PAPER_TABLES = sorted((ROOT / "benchmark_configs").glob("*/paper/table_*.md"))


@pytest.mark.parametrize("path", PAPER_TABLES, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_the_papers_tables_are_derived_from_the_committed_records(path: Path) -> None:
    table = load_table(ROOT / "benchmark_configs" / "paper", int(path.stem[-2:]))
    rows, models = [row.name for row in table.rows], [v.name for v in table.vertical_models]
    records = [
        record
        for record in read_records([path.parent / "records.jsonl"])
        if record.method in rows and record.model in models
    ]
    records.sort(key=lambda r: (models.index(r.model), rows.index(r.method), r.seed))
    # Commands and starting times tell which of several tables ran a shared row first.
    assert _tables_of(to_markdown(table, records)) == _tables_of(path.read_text(encoding="utf-8"))


def _tables_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(("|", "##"))]


@pytest.mark.parametrize(
    "document", [ROOT / "README.md", ROOT / "docs" / "findings.md"], ids=lambda path: path.name
)
def test_every_figure_stands_in_a_table_that_comes_from_records(document: Path) -> None:
    tables = [*(ROOT / "benchmark_configs").glob("*/leaderboard.md"), *PAPER_TABLES]
    known = {figure for path in tables for figure in FIGURE.findall(path.read_text("utf-8"))}
    assert set(FIGURE.findall(document.read_text(encoding="utf-8"))) <= known


FIGURE = re.compile(r"(?<![\d.])[+-]?\d\.\d{4}(?!\d)")
