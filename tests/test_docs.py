"""README and docs: numbers equal the committed records, commands exist, links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_architecture import ALLOWED

from fuxictr_loopfm.commands.cli import build_parser
from fuxictr_loopfm.commands.registry import COMMANDS
from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.evidence.publish.publish import committed, datasets, filled_document, rendered
from fuxictr_loopfm.records.record import read_records

ROOT = Path(__file__).resolve().parents[1]
CHECKOUT = Checkout(ROOT)
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Reports of other runs than those that are published.
REPORTS = {
    ROOT / "docs" / f"{name}.md" for name in ("bench", "rehearsal", "torture", "scale", "zoo")
}
FIGURE = re.compile(r"(?<![\d.])[+-]?\d\.\d{4}(?!\d)")
PUBLISHED = {
    path: text
    for dataset_id in datasets(CHECKOUT)
    for path, text in rendered(CHECKOUT, committed(CHECKOUT, dataset_id)).items()
}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_both_data_sets_with_real_runs_are_published() -> None:
    assert {"KuaiRandPure_s1", "MovieLens100K_s1"} <= set(datasets(CHECKOUT))


@pytest.mark.parametrize("path", PUBLISHED, ids=relative)
def test_published_files_are_what_the_records_give(path: Path) -> None:
    """Tables, entries and records; after a change on purpose run ``loopfm publish``."""
    assert path.read_text(encoding="utf-8") == PUBLISHED[path]


def test_nothing_that_looks_published_comes_from_elsewhere() -> None:
    names = ("leaderboard.*", "paper/*", "*/records.jsonl", "*/*.csv", "*/README.md", "*/*.txt")
    folders = [ROOT / "benchmark_configs" / dataset_id for dataset_id in datasets(CHECKOUT)]
    found = {path for folder in folders for name in names for path in folder.glob(name)}
    # Of a search for a teacher on the data without their test: a record of its own.
    trails = {path for path in found if path.name == "trail.csv"}
    assert sorted(map(relative, found - trails - PUBLISHED.keys())) == []


def test_every_run_is_committed_once() -> None:
    files = sorted((ROOT / "benchmark_configs").rglob("records.jsonl"))
    runs = [(r.dataset_id, r.expid, r.seed) for r in read_records(files)]
    assert len(runs) == len(set(runs)) > 0
    assert [relative(path) for path in files if path.stat().st_size > 1_000_000] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_marked_tables_of_documents_are_what_the_records_give(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert filled_document(CHECKOUT, text) == text


def test_readme_shows_both_sizes_on_kuairand_and_the_quickstart() -> None:
    shown = re.findall(r"<!-- leaderboard (\S+) (\S+) -->\n\| Rank ", README)
    assert set(shown) == {
        ("KuaiRandPure_s1", "DeepFM"),
        ("KuaiRandPure_s1", "DeepFM:small"),
        ("MovieLens100K_s1", "DeepFM"),
    }


@pytest.mark.parametrize(
    "document", [path for path in DOCUMENTS if path not in REPORTS], ids=relative
)
def test_every_figure_stands_in_a_table_that_comes_from_records(document: Path) -> None:
    pages = [text for path, text in PUBLISHED.items() if path.suffix == ".md"]
    known = {figure for text in pages for figure in FIGURE.findall(text)}
    assert sorted(set(FIGURE.findall(document.read_text(encoding="utf-8"))) - known) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme_and_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"`{command}`" in README
    with pytest.raises(SystemExit):
        build_parser().parse_args([command, "--help"])
    assert f"example: loopfm {command} " in " ".join(capsys.readouterr().out.split())


def test_the_script_that_the_readme_shows_is_the_one_that_is_tested() -> None:
    script = ROOT / "tests" / "integration" / "own_project" / "run_expid.py"
    assert f"```python\n{script.read_text(encoding='utf-8')}```" in README


def test_the_picture_of_the_rooms_is_the_rule_that_is_tested() -> None:
    """Every room is in it, above all that it may import."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    picture = text.split("```")[1].strip().splitlines()
    heights = {
        room: -number
        for number, line in enumerate(picture)
        for room in re.split(r"   +", line)[0].split()
    }
    assert heights.keys() | {"__main__"} == ALLOWED.keys(), "give each room its line in the picture"
    wrong = [
        f"{room} may import {other}, which the picture does not have below it"
        for room in heights
        for other in ALLOWED[room]
        if heights[other] >= heights[room]
    ]
    assert wrong == []


@pytest.mark.parametrize("target", re.findall(r"make ([a-z]+)", README))
def test_make_targets_that_the_readme_names_exist(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_paths_that_documents_name_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    folders = "fuxictr_loopfm|model_zoo|benchmark_configs|data_prep|docs|tests"
    named = re.findall(rf"(?<![\w/<])((?:{folders})/[\w./-]*\w)", text)
    missing = sorted(name for name in set(named) if not (ROOT / name).exists())
    assert missing == []
