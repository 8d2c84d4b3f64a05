"""What stands beside what: groups, the best row above, recorded intervals, words about teachers."""

from __future__ import annotations

import numpy as np
import pytest

from fuxictr_loopfm.analysis.metrics import evaluate
from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.evidence.benchmark.comparisons import compare
from fuxictr_loopfm.evidence.leaderboard.context import describe
from fuxictr_loopfm.evidence.leaderboard.reading import what_it_reads
from fuxictr_loopfm.evidence.leaderboard.rows import ranks, sections, summarise
from fuxictr_loopfm.evidence.leaderboard.text import cells, difference_text
from fuxictr_loopfm.records.comparison import read_comparisons, write_comparisons
from fuxictr_loopfm.records.record import COMPARISONS, read_records, write_record
from tests.unit.evidence.runs import compared, run, seeds


def board():
    """Two rows of each of the first three groups; the better raw one is raw+label."""
    aucs = {"base": 0.70, "KD": 0.71, "raw": 0.72, "raw+label": 0.74, "LoopFM": 0.73}
    aucs |= {"KD+LoopFM": 0.75, "teacher": 0.76}
    return [each for method, auc in aucs.items() for each in seeds(method, [auc, auc + 0.01])]


def test_rows_stand_in_groups_and_are_compared_with_the_best_of_the_group_above():
    rows = {row.method: row for row in summarise(board())}
    others = {name: row.against_above and row.against_above.other for name, row in rows.items()}
    assert others == {
        "base": None, "KD": None, "raw": "KD", "raw+label": "KD", "LoopFM": "raw+label",
        "KD+LoopFM": "raw+label", "teacher": "KD+LoopFM",
    }  # fmt: skip
    assert rows["LoopFM"].against_above.difference == pytest.approx(-0.01)
    (section,) = sections(rows.values()).values()
    order = ["KD", "base", "raw+label", "raw", "KD+LoopFM", "LoopFM", "teacher"]
    assert [row.method for row in section] == order
    assert ranks(section) == [6, 7, 3, 5, 2, 4, 1]


def test_a_group_without_rows_is_passed_over():
    rows = summarise([*seeds("base", [0.7]), *seeds("LoopFM", [0.8])])
    assert rows[1].against_above.other == "base"


def test_an_interval_that_holds_zero_is_said_to_show_nothing():
    records = board()
    arms = {method: [r for r in records if r.method == method] for method in ("LoopFM", "base")}
    found = compared(arms["LoopFM"], arms["base"], 0.03, -0.01, 0.05)
    row = next(row for row in summarise(records, [found]) if row.method == "LoopFM")
    assert difference_text(row.against_base) == "+0.0300 n.s. [-0.0100, +0.0500]"
    assert difference_text(row.against_above, named=True) == "-0.0100 [-] raw+label"
    assert difference_text(row.against_base._replace(interval=None)) == "+0.0300 [-]"
    assert difference_text(None) == "-" and "-" in cells(1, row)


def test_a_comparison_never_stands_beside_other_runs():
    base, kd = seeds("base", [0.70, 0.71]), seeds("KD", [0.72, 0.73])
    found = compared(kd, base, 0.02, 0.01, 0.03)
    assert summarise([*base, *kd], [found])[1].against_base.interval == (0.02, 0.01, 0.03)
    again = [*base, *seeds("KD", [0.72, 0.74])]
    assert summarise(again, [found])[1].against_base.interval is None


def test_comparisons_are_read_back_from_beside_the_records_and_altered_ones_refused(tmp_path):
    base, kd = seeds("base", [0.70]), seeds("KD", [0.72])
    found = compared(kd, base, 0.02, 0.01, 0.03)
    write_record(tmp_path, base[0])
    write_comparisons(tmp_path, [found, found])
    assert read_comparisons([tmp_path]) == [found, found]
    assert read_comparisons([tmp_path / base[0].file_name]) == [found, found]
    assert read_records([tmp_path]) == base
    path = tmp_path / COMPARISONS
    path.write_text(path.read_text().replace("0.02", "0.05"))
    with pytest.raises(DataError, match="line 1: metrics: does not fit the seal"):
        read_comparisons([tmp_path])
    path.write_text("{}\n")
    with pytest.raises(DataError, match=COMPARISONS):
        read_comparisons([tmp_path])


def test_intervals_are_computed_once_from_the_predictions_beside_the_records(tmp_path):
    generator = np.random.default_rng(0)
    user = np.repeat(np.arange(40), 10)
    y = generator.integers(0, 2, 400)
    records = []
    for method, noise in (("base", 3.0), ("raw", 1.5), ("LoopFM", 0.8)):
        for seed in (1, 2):
            p = 1 / (1 + np.exp(-(2 * y - 1) - generator.normal(0, noise, 400)))
            made = run(method, seed, evaluate(y, p)["AUC"], expid=method)
            write_record(tmp_path, made)
            np.savez(tmp_path / f"{method}-seed{seed}.npz", y=y, p=p, user=user)
            records.append(made)
    found = compare(records, tmp_path)
    pairs = {tuple(name.split()[0] for name in each.names) for each in found}
    assert pairs == {("raw", "base"), ("LoopFM", "base"), ("LoopFM", "raw")}
    for row in summarise(records, found)[1:]:
        for one in filter(None, (row.against_base, row.against_above)):
            assert one.interval.value == pytest.approx(one.difference, abs=1e-12)
            assert one.interval.low < one.difference < one.interval.high
    for path in tmp_path.glob("*.npz"):
        path.unlink()  # what is known is not computed again
    assert compare(records, tmp_path) == found


def test_a_teacher_that_is_not_better_than_base_is_said_to_be_of_no_help():
    alone = dict.fromkeys(("data", "code", "teacher", "store", "config"), "x") | {"teacher": ""}
    base, raw = (
        seeds(name, [auc], fingerprints=alone) for name, auc in (("base", 0.7), ("raw", 0.74))
    )
    by_period = {"5": 0.71, "6": 0.705}

    def notes(auc: float) -> str:
        return " ".join(describe([*base, *raw, run("teacher", 1, auc, by_period=by_period)]).notes)

    assert "AUC of the teacher by logged period: 5: 0.7100, 6: 0.7050." in notes(0.75)
    assert "not better than base (0.7000): neither distillation nor embeddings" in notes(0.69)
    assert "loopfm tune-teacher" in notes(0.69)
    assert "not than raw (0.7400), which needs no teacher" in notes(0.73).replace("\n", " ")
    assert "expected" not in notes(0.75)


def test_what_a_row_was_given_is_told_from_its_configuration():
    def reads(method: str = "x", **config: object) -> str:
        return what_it_reads(run(method, config=config))

    lists = [{"name": "watched", "type": "sequence", "active": True}]
    assert reads() == ""
    assert reads(loopfm_history="ids+label", loopfm_backfill=None, feature_cols=lists) == (
        "past ids, labels of all periods; watched"
    )
    assert reads(loopfm_history="ids", loopfm_backfill=False) == "past ids of logged periods"
    embeddings = reads(loopfm_history="embedding+ids", loopfm_backfill=None)
    assert embeddings == "past embeddings, ids of logged periods"
    assert reads(loopfm_train_on="all") == "trained on all periods"
    assert reads("teacher") == "what the teacher reads"
