from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.evidence.leaderboard.context import describe
from fuxictr_loopfm.evidence.leaderboard.html import to_html
from fuxictr_loopfm.evidence.leaderboard.render import (
    render_table,
    to_csv,
    to_markdown,
    to_terminal,
    write_leaderboard,
)
from fuxictr_loopfm.evidence.leaderboard.rows import summarise
from fuxictr_loopfm.evidence.methods import METHODS
from tests.unit.evidence.runs import HOSTILE, run, seeds


def test_a_row_has_mean_and_sample_deviation_over_seeds():
    records = [
        run("KD", 1, 0.70, train_seconds=1.0, bytes_per_event=32.0),
        run("KD", 2, 0.72, train_seconds=3.0, bytes_per_event=32.0),
        run("KD", 3, 0.77, train_seconds=2.0, bytes_per_event=32.0),
    ]
    (row,) = summarise(records)
    assert row.seeds == (1, 2, 3)
    assert row.mean["AUC"] == pytest.approx(0.73)
    # Deviations -0.03, -0.01, 0.04: squares sum to 0.0026, divided by 2.
    assert row.std["AUC"] == pytest.approx(0.0013**0.5)
    assert (row.params, row.bytes_per_event, row.train_seconds) == (1000, 32.0, 2.0)
    assert row.against_base is None


def test_the_difference_to_base_is_paired_over_common_seeds():
    records = seeds("base", [0.70, 0.71, 0.69, 0.60]) + seeds("LoopFM", [0.73, 0.72, 0.71])
    base, loop = summarise(records)
    assert base.against_base is None
    assert loop.against_base.seeds == 3
    # Seeds 1-3 gain 0.03, 0.01, 0.02; seed 4 has no partner.
    assert loop.against_base.difference == pytest.approx(0.02)
    expected = ttest_rel([0.73, 0.72, 0.71], [0.70, 0.71, 0.69]).pvalue
    assert loop.against_base.p == pytest.approx(expected, rel=1e-9)


AUCS = st.lists(st.tuples(st.floats(0.5, 0.9), st.floats(0.5, 0.9)), min_size=2, max_size=6)


@settings(deadline=None)
@given(AUCS)
def test_p_equals_scipy_wherever_the_differences_vary(pairs):
    before, after = map(list, zip(*pairs, strict=True))
    compared = summarise(seeds("base", before) + seeds("KD", after))[1].against_base
    differences = [b - a for a, b in pairs]
    if max(differences) - min(differences) < 1e-9:
        assert compared.p is None or compared.p < 1e-3
    else:
        assert compared.p == pytest.approx(ttest_rel(after, before).pvalue, rel=1e-6, abs=1e-12)


def test_no_p_value_is_claimed_without_variance_or_with_one_seed():
    same = summarise(seeds("base", [0.7, 0.6, 0.5]) + seeds("KD", [0.8, 0.7, 0.6]))[1]
    assert same.against_base.difference == pytest.approx(0.1)
    assert same.against_base.p is None
    one = summarise([run(), run("KD", auc=0.75)])[1]
    assert one.against_base == (1, pytest.approx(0.05), None, None, "base")
    apart = summarise([run(seed=1), run("KD", seed=2)])[1]
    assert apart.against_base is None


def test_base_of_another_model_or_data_set_is_no_base():
    records = [run(), run("KD", model="DIN"), run("KD", dataset_id="other_s1")]
    assert [row.against_base for row in summarise(records)] == [None, None, None]
    compared = summarise([*records, run(model="DIN", auc=0.6)])
    assert [row.against_base is not None for row in compared] == [False, False, True, False]


def test_rows_follow_the_order_of_methods_and_unknown_ones_come_last():
    records = [run(method) for method in ("zeta", *reversed(METHODS), "alpha")]
    assert [row.method for row in summarise(records)] == [*METHODS, "alpha", "zeta"]


def test_a_sweep_gives_one_row_per_point_told_apart_by_what_differs():
    records = []
    for encoder in ("mean", "din"):
        for length in (5, 10, 50):
            config = {"loopfm_max_len": length, "loopfm_encoder": encoder, "units": [4, 2]}
            for seed in (1, 2):
                records.append(run("LoopFM", seed, encoder=encoder, config=config))
    rows = summarise(records)
    assert [row.encoder for row in rows] == [
        "din loopfm_max_len=5", "din loopfm_max_len=10", "din loopfm_max_len=50",
        "mean loopfm_max_len=5", "mean loopfm_max_len=10", "mean loopfm_max_len=50",
    ]  # fmt: skip
    assert [row.seeds for row in rows] == [(1, 2)] * 6


def test_several_differing_keys_missing_ones_and_lists_are_spelled_out():
    records = [
        run(config={"units": [4, 2], "b": None}),
        run(config={"units": [8], "a": "x", "b": None}),
    ]
    texts = [row.encoder for row in summarise(records)]
    assert texts == ["a=unset units=[4, 2]", "a=x units=[8]"]


def test_keys_that_only_name_or_place_a_run_make_no_row():
    records = [run(seed=1, config={"model_root": "a/", "seed": 1, "model_id": "p", "gpu": 0})]
    records.append(run(seed=2, config={"model_root": "b/", "seed": 2, "model_id": "q", "gpu": -1}))
    (row,) = summarise(records)
    assert row.seeds == (1, 2) and row.encoder == ""


def test_the_newest_of_two_runs_of_one_configuration_and_seed_counts_and_that_is_said():
    late = run(auc=0.9, started="2026-02-01T00:00:00.500+00:00")
    records = [late, run(auc=0.5, started="2026-02-01T00:00:00Z"), run(seed=2, auc=0.7)]
    (row,) = summarise(records)
    assert row.seeds == (1, 2) and row.mean["AUC"] == pytest.approx(0.8)
    (note,) = describe(records).notes
    assert "tiny_s1, DeepFM, base, seed 1: 2 runs" in note and late.started in note


def test_one_record_given_twice_is_one_run():
    assert describe([run(), run()]).notes == ()
    assert summarise([run(), run()])[0].seeds == (1,)


def test_two_protocols_or_two_splits_in_one_table_are_refused(tmp_path):
    with pytest.raises(DataError, match="protocol: expected one, found bars, stream"):
        summarise([run(), run("KD", protocol="bars")])
    records = [run(split="8 tests"), run("KD", split="7 tests")]
    with pytest.raises(DataError, match="split of tiny_s1: expected one, found '7 tests' / '8 te"):
        write_leaderboard(records, tmp_path)
    assert list(tmp_path.iterdir()) == []
    summarise([run(split="8 tests"), run(dataset_id="other_s1", split="7 tests")])


def test_no_records_make_no_leaderboard():
    with pytest.raises(DataError, match="expected run records, found none"):
        summarise([])


def test_the_best_of_several_bases_is_the_one_compared_with_and_that_is_said():
    weak = seeds("base", [0.60, 0.61], config={"lr": 0.1})
    strong = seeds("base", [0.70, 0.73], config={"lr": 0.2})
    records = weak + strong + seeds("KD", [0.75, 0.77], config={"lr": 0.1})
    rows = {(row.method, row.encoder): row for row in summarise(records)}
    assert rows["KD", ""].against_base.difference == pytest.approx(0.045)
    assert rows["base", "lr=0.1"].against_base.difference == pytest.approx(-0.11)
    assert rows["base", "lr=0.2"].against_base is None
    assert describe(records).notes == (
        "tiny_s1, DeepFM: 2 configurations of base; differences are against the best of them.",
    )


def test_runs_of_several_versions_of_data_or_code_are_remarked():
    prints = dict.fromkeys(("data", "code", "teacher", "store", "config"), "x")
    records = [run(), run("KD", fingerprints=prints | {"code": "y", "store": "z"})]
    (note,) = describe(records).notes
    assert "tiny_s1, DeepFM: the runs come from 2 versions of the code" in note


def test_csv_has_exactly_the_agreed_columns_and_blanks_where_there_is_no_value():
    records = seeds("base", [0.7, 0.8])
    records.append(run("LoopFM", auc=0.75, gauc=None, bytes_per_event=38.5, encoder='a,"b'))
    text = to_csv(summarise(records))
    assert text.splitlines()[0] == (
        "dataset_id,model,group,method,encoder,reads,seeds,AUC,AUC_std,gAUC,gAUC_std,logloss,"
        "logloss_std,NE,NE_std,dAUC_base,dAUC_base_low,dAUC_base_high,dAUC_above,dAUC_above_low,"
        "dAUC_above_high,above,params,bytes_per_event,train_seconds"
    )
    base, loop = csv.DictReader(io.StringIO(text))
    assert (base["seeds"], base["AUC"], base["AUC_std"]) == ("2", "0.750000", "0.070711")
    assert (base["encoder"], base["bytes_per_event"], base["params"]) == ("", "0", "1000")
    assert loop["encoder"] == 'a,"b' and loop["bytes_per_event"] == "38.5"
    assert (loop["AUC_std"], loop["gAUC"], loop["gAUC_std"]) == ("", "", "")


def test_markdown_table_ranks_by_auc_and_shows_four_decimals():
    records = seeds("base", [0.70, 0.71, 0.69]) + seeds("KD", [0.73, 0.72, 0.71], params=12345)
    lines = render_table(records, "DeepFM").splitlines()
    assert lines[0] == (
        "| Rank | Method | Encoder | Reads | AUC | gAUC | Logloss | NE | dAUC vs base [95%] "
        "| p over seeds | dAUC vs group above [95%] | Params | Bytes/event | Train s |"
    )
    p = ttest_rel([0.73, 0.72, 0.71], [0.70, 0.71, 0.69]).pvalue
    assert lines[2].startswith("| **Needs nothing at serving** |  |")
    assert lines[3] == (
        f"| 1 | KD | - | - | 0.7200 ± 0.0100 | 0.6000 ± 0.0000 | 0.5000 ± 0.0000 | 0.9000 ± 0.0000 "
        f"| +0.0200 \\[-\\] | {p:.4f} (n=3) | - | 12,345 | 0 | 1.0 |"
    )
    assert lines[4].startswith("| 2 | base | - | - | 0.7000 ± 0.0100 |")
    assert lines[4].endswith("| - | - | - | 1,000 | 0 | 1.0 |")


def test_markdown_page_tells_protocol_split_environment_commands_and_has_a_table_per_model():
    records = [
        run(split="8 tests"),
        run("KD", auc=0.8, split="8 tests", command="loopfm `x`"),
        run(model="DeepFM:small", split="8 tests"),
    ]
    text = to_markdown(summarise(records), describe(records))
    assert text.startswith("# Leaderboard: tiny_s1\n")
    assert "> Protocol: stream" in text
    assert "> Split: tiny_s1: 8 tests" in text
    assert "> Environment: Python 3.11, torch 2.1, Chip (2 cores)" in text
    assert "> ```\n> make benchmark DATASET=tiny_s1\n> loopfm `x`\n> ```" in text
    assert re.findall("^### (.+)$", text, flags=re.MULTILINE) == ["DeepFM", "DeepFM:small"]
    assert text.count("| Rank |") == 2


def test_a_command_cannot_end_its_code_block():
    records = [run(command="echo ```")]
    text = to_markdown(summarise(records), describe(records))
    assert "> ````\n> echo ```\n> ````\n" in text


def test_markdown_keeps_hostile_text_literal_within_its_cell():
    line = render_table([run("KD", encoder=HOSTILE)], "DeepFM").splitlines()[3]
    assert len(re.split(r"(?<!\\)\|", line)) == 14 + 2
    assert "<" not in line and r"\|\`\*x\*\`" in line and r"\_u\_ a_b \[l\](m) # h" in line
    assert "&amp;amp;" in line


def test_terminal_table_is_aligned():
    records = seeds("base", [0.70, 0.71]) + seeds(
        "KD+LoopFM+label", [0.73, 0.75], encoder="din x=1"
    )
    name, _, header, _, *lines = to_terminal(summarise(records)).splitlines()
    second, first = lines[1], lines[3]
    assert [line for line in lines if line.startswith("[")] == [lines[0], lines[2]]
    assert name == "tiny_s1  DeepFM"
    start, title = header.index("Encoder"), "dAUC vs base [95%]"
    end = header.index(title) + len(title)
    assert first[start:].startswith("din x=1") and second[start:].startswith("-")
    assert first[:end].endswith("+0.0350 [-]") and second[:end].endswith("-")
    assert len(header) == len(first) == len(second)


def test_write_leaderboard_writes_three_files_and_render_table_one_model(tmp_path):
    records = [run(), run(model="DeepFM:small", auc=0.61234)]
    write_leaderboard(records, tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["leaderboard.csv", "leaderboard.html", "leaderboard.md"]
    assert (tmp_path / "out" / "leaderboard.csv").read_text() == to_csv(summarise(records))
    table = render_table(records, "DeepFM:small")
    assert "0.6123" in table and "0.7000" not in table
    with pytest.raises(DataError, match=r"model DIN: .*found DeepFM on tiny_s1, DeepFM:small on"):
        render_table(records, "DIN")


def test_warnings_of_records_stand_under_the_table():
    warned = [run("base", seed, 0.5, warnings=["it is constant"]) for seed in (1, 2)]
    records = [*warned, run("KD", 1, 0.7)]
    rows, context = summarise(records), describe(records)
    line = "Warning: base, seed 1, 2: it is constant."
    terminal = to_terminal(rows).rstrip("\n").splitlines()
    assert terminal[-1] == line and terminal[-2].lstrip().startswith("2  base")
    page = to_markdown(rows, context)
    assert f" |\n\n{line}\n" in page and f"<p>{line}</p>" in to_html(rows, context)
    assert "Warning" not in to_terminal(summarise(records[2:]))
