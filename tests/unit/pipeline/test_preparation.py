"""Prepared data sets are made by a script once, and again only when something changed."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.errors import ConfigError, DataError
from fuxictr_loopfm.pipeline import preparation
from fuxictr_loopfm.pipeline.preparation import prepare, raw_identity
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.prepared.dev_form import dev_id

DATASET = "Toy_s1"
# Writes a log of eight rows, or fails in the manner of the real scripts; notes that it was run.
SCRIPT = """
import argparse, sys
from pathlib import Path
import pandas as pd
from fuxictr_loopfm.prepared.dataset import Column, DatasetSpec, Periods, write_prepared

DATASET_ID = "Toy_s1"
parser = argparse.ArgumentParser()
parser.add_argument("--out", type=Path)
parser.add_argument("--data", type=Path)
parser.add_argument("--drop-last-period", action="store_true")
options = parser.parse_args()
with open(Path(__file__).with_name("runs.txt"), "a") as runs:
    runs.write(f"{options.drop_last_period}\\n")
text = "1" if options.data is None else (options.data / "log.csv").read_text()
if text == "bad":
    print("read log.csv ...", file=sys.stderr)
    print("error: log.csv: clk: expected 0 or 1, found 2.\\nMend it.", file=sys.stderr)
    raise SystemExit(1)
if text == "crash":
    raise RuntimeError("a bug")
count = 3 if options.drop_last_period else 4
rows = range(2 * count)
frame = pd.DataFrame({"timestamp": rows, "period": [row // 2 + 1 for row in rows],
                      "clk": [0, 1] * count, "user": "a", "item": text})
spec = DatasetSpec(
    dataset_id="Toy_dev_s1" if options.drop_last_period else DATASET_ID, label="clk", user="user",
    item="item", time_unit="ordinal", columns=(Column("user"), Column("item")),
    periods=Periods.split(count, 1), period_rule="rows", source="made up",
)
write_prepared(options.out, spec, frame)
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    for folder in ("model_zoo", "data_prep"):
        (tmp_path / "checkout" / folder).mkdir(parents=True)
    result = Checkout(tmp_path / "checkout")
    (result.root / "data_prep" / "toy.py").write_text(SCRIPT, encoding="utf-8")
    return result


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    write(tmp_path / "raw", "x")
    return tmp_path / "raw"


def write(raw: Path, text: str) -> None:
    (raw / "log.csv").write_text(text, encoding="utf-8")


def runs(checkout: Checkout) -> list[str]:
    path = checkout.root / "data_prep" / "runs.txt"
    return path.read_text().split() if path.is_file() else []


def left(checkout: Checkout) -> list[str]:
    """What lies beside the prepared folders; locks are of no account."""
    folder = checkout.data_root / "prepared"
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


def test_the_script_runs_once_until_the_raw_files_change(checkout: Checkout, raw: Path) -> None:
    prepared = prepare(checkout, DATASET, raw)
    link = checkout.data_root / "prepared" / DATASET
    assert link.is_symlink() and link.resolve() == prepared.folder.resolve()
    assert prepared.folder.parent == link.parent and prepared.folder.name.startswith(f"{DATASET}-")
    assert prepared.array("item").tolist() == ["x"] * 8
    assert prepare(checkout, DATASET, raw).fingerprint == prepared.fingerprint
    assert prepare(checkout, DATASET, None).fingerprint == prepared.fingerprint
    assert runs(checkout) == ["False"]
    write(raw, "other")
    assert prepare(checkout, DATASET, raw).array("item").tolist() == ["other"] * 8
    assert PreparedDataset.load(link).array("item").tolist() == ["other"] * 8
    assert prepared.array("item").tolist() == ["x"] * 8, "a run that reads the former one goes on"
    assert runs(checkout) == ["False"] * 2
    path = checkout.root / "data_prep" / "toy.py"
    path.write_text(SCRIPT + "# changed\n")
    prepare(checkout, DATASET, raw)
    assert runs(checkout) == ["False"] * 3


def test_files_of_one_name_in_two_folders_both_count(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("")
    for folder in ("a", "b"):
        (tmp_path / "raw" / folder).mkdir(parents=True)
        write(tmp_path / "raw" / folder, "x")
    before = raw_identity(tmp_path / "raw", script, [])
    write(tmp_path / "raw" / "a", "changed")
    assert raw_identity(tmp_path / "raw", script, []) != before


def test_a_single_raw_file_counts_by_size_and_time(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("")
    write(tmp_path, "x")
    before = raw_identity(tmp_path / "log.csv", script, [])
    os.utime(tmp_path / "log.csv", ns=(1, 1))
    assert raw_identity(tmp_path / "log.csv", script, []) != before
    assert raw_identity(None, script, ["--x"]) != raw_identity(None, script, [])


def test_modules_that_a_script_imports_count_and_no_others(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import json\nfrom _tables import read\n")
    (tmp_path / "_tables.py").write_text("from _common import check\nimport script\n")
    (tmp_path / "_common.py").write_text("")
    (tmp_path / "other.py").write_text("")
    before = raw_identity(None, script, [])
    (tmp_path / "other.py").write_text("# changed\n")
    assert raw_identity(None, script, []) == before
    (tmp_path / "_common.py").write_text("# changed\n")
    assert raw_identity(None, script, []) != before


def test_the_dev_set_lies_beside_the_whole_one(checkout: Checkout, raw: Path) -> None:
    whole = prepare(checkout, DATASET, raw)
    dev = prepare(checkout, DATASET, raw, drop_last_period=True)
    assert (whole.spec.rows, dev.spec.rows) == (8, 6)
    assert dev.folder.name.startswith("Toy_dev_s1-")
    assert dev.spec.dataset_id == dev_id(DATASET) == "Toy_dev_s1"
    assert prepare(checkout, DATASET, raw).spec.rows == 8
    assert runs(checkout) == ["False", "True"]


def test_a_script_may_need_no_raw_files(checkout: Checkout) -> None:
    assert prepare(checkout, DATASET, None).array("item").tolist() == ["1"] * 8
    prepare(checkout, DATASET, None)
    assert runs(checkout) == ["False"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bad", r"^log\.csv: clk: expected 0 or 1, found 2\.\nMend it\.$"),
        ("crash", r"^toy\.py: stopped; what it wrote stands above$"),
    ],
)
def test_a_failing_script_is_one_error_and_leaves_nothing(
    checkout: Checkout, raw: Path, text: str, message: str
) -> None:
    write(raw, text)
    with pytest.raises(DataError, match=f"(?s){message}"):
        prepare(checkout, DATASET, raw)
    assert left(checkout) == []
    write(raw, "mended")
    assert prepare(checkout, DATASET, raw).array("item").tolist() == ["mended"] * 8
    write(raw, text)
    with pytest.raises(DataError):
        prepare(checkout, DATASET, raw)
    assert len(left(checkout)) == 3, "a folder, its note and the link to it"


def test_the_former_data_set_stays_until_the_new_one_is_whole(
    checkout: Checkout, raw: Path
) -> None:
    former = prepare(checkout, DATASET, raw)
    write(raw, "crash")
    with pytest.raises(DataError):
        prepare(checkout, DATASET, raw)
    assert PreparedDataset.load(former.folder).array("item").tolist() == ["x"] * 8
    write(raw, "x")
    prepare(checkout, DATASET, raw)
    assert len(runs(checkout)) == 3, "it is not taken for what the failed one was to be made of"


def test_two_raw_folders_of_one_data_set_do_not_disturb_each_other(
    checkout: Checkout, raw: Path, tmp_path: Path
) -> None:
    one = prepare(checkout, DATASET, raw)
    shutil.copytree(raw, tmp_path / "other")  # same names, sizes and times
    status = (tmp_path / "other" / "log.csv").stat()
    write(tmp_path / "other", "y")
    os.utime(tmp_path / "other" / "log.csv", ns=(status.st_atime_ns, status.st_mtime_ns))
    two = prepare(checkout, DATASET, tmp_path / "other")
    assert one.array("item").tolist() == ["x"] * 8 and two.array("item").tolist() == ["y"] * 8
    assert prepare(checkout, DATASET, raw).folder == one.folder
    assert prepare(checkout, DATASET, tmp_path / "other").folder == two.folder
    assert runs(checkout) == ["False"] * 2
    assert prepare(checkout, DATASET, None).folder.resolve() == two.folder.resolve()


def as_an_earlier_release_left_it(made: Path) -> Path:
    """Put a prepared folder where the link to it is, with the note of then."""
    link = made.with_name(DATASET)
    link.unlink()
    note = json.loads(made.with_name(f"{made.name}.raw.json").read_text())
    del note["raw"]
    os.replace(made, link)
    made.with_name(f"{made.name}.raw.json").unlink()
    link.with_name(f"{DATASET}.raw.json").write_text(json.dumps(note))
    return link


@pytest.mark.parametrize("swaps", [True, False])
def test_a_folder_of_an_earlier_release_is_taken_over(
    checkout: Checkout, raw: Path, monkeypatch: pytest.MonkeyPatch, swaps: bool
) -> None:
    if not swaps:
        monkeypatch.setattr(preparation, "swapped", lambda *_: False)
    made = prepare(checkout, DATASET, raw).folder
    files = left(checkout)
    link = as_an_earlier_release_left_it(made)
    assert prepare(checkout, DATASET, raw).folder.resolve() == made.resolve()
    assert link.is_symlink() and runs(checkout) == ["False"] and left(checkout) == files


class Stopped(BaseException):
    """As a signal ends a command."""


def watch(patch: pytest.MonkeyPatch, link: Path, stop_at: int = 0) -> list[str]:
    """Names of the steps that change names; before each the link must lead to whole data."""
    steps: list[str] = []

    def watched(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def step(*args: object, **kwargs: object) -> object:
            steps.append(name)
            assert PreparedDataset.load(link).spec.rows == 8, steps
            if len(steps) == stop_at:
                raise Stopped
            return call(*args, **kwargs)

        return step

    for place, name in ((os, "replace"), (os, "symlink"), (os, "unlink"), (preparation, "swapped")):
        patch.setattr(place, name, watched(name, getattr(place, name)))
    return steps


def test_no_moment_of_taking_over_is_without_data(checkout: Checkout, raw: Path) -> None:
    made = prepare(checkout, DATASET, raw).folder
    files, seen = left(checkout), set()
    for number in itertools.count(1):
        link = as_an_earlier_release_left_it(made)
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Stopped):
            steps = watch(patch, link, stop_at=number)
            prepare(checkout, DATASET, raw)
        assert prepare(checkout, DATASET, raw).folder.resolve() == made.resolve()
        assert link.is_symlink() and runs(checkout) == ["False"] and left(checkout) == files
        seen.update(steps)
        if len(steps) < number:
            break
    assert seen == {"replace", "symlink", "unlink", "swapped"}


def test_no_moment_of_pointing_elsewhere_is_without_data(
    checkout: Checkout, raw: Path, tmp_path: Path
) -> None:
    shutil.copytree(raw, tmp_path / "other")
    one, two = (prepare(checkout, DATASET, folder) for folder in (raw, tmp_path / "other"))
    link = one.folder.with_name(DATASET)
    assert link.resolve() == two.folder.resolve()
    with pytest.MonkeyPatch.context() as patch:
        steps = watch(patch, link)
        prepare(checkout, DATASET, raw)
    assert "symlink" in steps and link.resolve() == one.folder.resolve()


def test_a_folder_that_somebody_else_put_there_stays(checkout: Checkout, raw: Path) -> None:
    made = prepare(checkout, DATASET, raw).folder
    link = made.with_name(DATASET)
    link.unlink()
    shutil.copytree(made, link)
    write(raw, "y")
    assert prepare(checkout, DATASET, raw).array("item").tolist() == ["y"] * 8
    assert PreparedDataset.load(link).array("item").tolist() == ["x"] * 8


def test_a_folder_that_is_prepared_already_is_used_where_it_lies(
    checkout: Checkout, raw: Path, tmp_path: Path
) -> None:
    shutil.copytree(prepare(checkout, DATASET, raw).folder, tmp_path / "mine")
    assert prepare(checkout, DATASET, tmp_path / "mine").folder == tmp_path / "mine"
    with pytest.raises(DataError, match=r"dataset_id: expected Other_s1 \(DATASET\), found Toy_s1"):
        prepare(checkout, "Other_s1", tmp_path / "mine")
    with pytest.raises(DataError, match="--drop-last-period"):
        prepare(checkout, DATASET, tmp_path / "mine", drop_last_period=True)


def test_unknown_data_sets_and_missing_folders_are_named(
    checkout: Checkout, tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError, match=r"DATASET=Tyo_s1: .*did you mean 'Toy_s1'\?\)\. .*custom\.py"
    ):
        prepare(checkout, "Tyo_s1", None)
    with pytest.raises(DataError, match=r"DATA=.*nowhere: expected a folder .* found none"):
        prepare(checkout, DATASET, tmp_path / "nowhere")
    assert runs(checkout) == []
