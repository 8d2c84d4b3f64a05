"""What ``custom.py`` refuses: one message, exit code 1, nothing written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import custom
import pytest
from custom_toy import make_log, make_spec, run


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vertcal": ["item"]}, "unknown key 'vertcal' (did you mean 'vertical'?)"),
        ({"time": {"column": "ts", "units": "s"}}, "unknown key 'units' (did you mean 'unit'?)"),
        ({"time": {"column": "ts", "unit": "sec"}}, "time: unit: expected one of"),
        ({"user": None}, "missing key 'user'"),
        ({"dataset_id": "Mine"}, "ending in _s1"),
        ({"vertical": "item"}, "vertical: expected a list of names"),
        ({"vertical": ["uid", "item", "click"]}, "'click' must not be a feature"),
        ({"numeric": ["prize"]}, "'prize' is no feature (did you mean 'price'?)"),
        ({"buckets": {"age": [25, 18]}}, "expected log2 or ascending numbers"),
        ({"buckets": {"price": "log2"}}, "both numeric and bucketed"),
        ({"item_columns": ["age"]}, "no categorical column of the vertical view"),
        ({"history": {"max_len": 0}}, "max_len: expected 1 to 65535"),
        ({"duplicates": "ignore"}, "duplicates: expected one of"),
        ({"keep": [{"column": "views"}]}, "expected one of equals, one_of, at_least and below"),
        ({"keep": [{"column": "views", "below": "9"}]}, "below: expected a number"),
        ({"periods": {"kind": "week"}}, "expected 'day' or 'chunks'"),
        ({"periods": {"kind": "chunks", "count": 2}}, "teacher_periods + 2 = 3 or more"),
        (
            {"periods": {"kind": "day", "timezone": "Asia/Shanghia"}},
            "did you mean 'Asia/Shanghai'?",
        ),
        ({"teacher_periods": 0}, "teacher_periods: expected 1 or more"),
        ({"rename": {"type": "item.type"}, "vertical": ["item.type", "price"]}, "'item.type'"),
        ({"rename": None, "vertical": ["type", "price"]}, "PyTorch reserves 'type'"),
        ({"log": "nothing-*.csv"}, "no file matches"),
        ({"log": "nothing.csv"}, "nothing.csv: no such file"),
        ({"user": "u_id", "vertical": ["item"], "numeric": None}, "'u_id' (did you mean 'uid'?)"),
        ({"keep": [{"column": "uid", "equals": "u7"}]}, "no rows in"),
        ({"label": "views", "teacher_only": ["age"], "buckets": None}, "expected 0 or 1"),
        ({"time": {"column": "ts", "unit": "ms"}}, "they fit unit 's'"),
        ({"time": {"column": "ts", "unit": "iso"}}, "expected ISO 8601 times"),
        ({"time": {"column": "uid", "unit": "s"}}, "expected numbers, found 'u0'"),
        ({"periods": {"kind": "day", "timezone": "UTC"}}, "expected at least 3 periods"),
        ({"numeric": ["item_type"]}, "'item_type' (numeric; bucket it if it has gaps)"),
    ],
)
def test_mistakes_are_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    spec = {**make_spec(), **changes}
    spec = {key: value for key, value in spec.items() if value is not None}
    assert run(tmp_path, spec, make_log()) == 1
    captured = capsys.readouterr().err
    assert message in captured and "Traceback" not in captured
    assert not (tmp_path / "out").exists()


def test_all_problems_of_a_spec_are_reported_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = make_spec(teacher_periods=-1, duplicates="no", time={"column": "ts", "unit": "h"})
    assert run(tmp_path, spec, make_log()) == 1
    captured = capsys.readouterr().err
    assert all(part in captured for part in ("teacher_periods", "duplicates", "time: unit"))


@pytest.mark.parametrize("text", ["", "[1", "just text", "- a\n- b"])
def test_a_spec_that_is_no_mapping(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (tmp_path / "spec.yaml").write_text(text)
    arguments = ["--spec", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "out")]
    assert custom.cli(arguments) == 1
    assert "spec.yaml" in capsys.readouterr().err
