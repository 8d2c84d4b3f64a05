"""Hints on values that YAML 1.1 read as something else."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fuxictr_loopfm.files.scalars import (
    meant_bool,
    meant_number,
    meant_text,
    numbers_of_another_base,
)


@pytest.mark.parametrize("written", ["1e-5", "1.5e5", "-3E7", "2.e3"])
def test_what_is_suggested_for_a_number_is_read_as_that_number(written: str) -> None:
    assert isinstance(yaml.safe_load(written), str)
    suggested = meant_number(written).rsplit(" ", 1)[1]
    assert yaml.safe_load(suggested) == float(written)


def test_other_values_have_no_hint() -> None:
    assert (meant_number("wide"), meant_number(True), meant_bool("maybe"), meant_bool(0)) == (
        "",
    ) * 4
    assert meant_text("NO") == "" and meant_text(None) == ""
    assert "without quotes" in meant_number("5") and "without them" in meant_bool("False")
    assert "YAML reads NO" in meant_text(False) and "'8'" in meant_text(8)


def test_octal_and_sexagesimal_numbers_are_found(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("base:\n  a: 010\n  b: [1, 12:30:00]\n  c: '010'\n  d: 0\n  e: 10\n  f: 0.5\n")
    first, second = numbers_of_another_base(path)
    assert first.startswith(f"{path}: base: a: 010 is a number to base 8 in YAML; write it as")
    assert second.startswith(f"{path}: base: b: 1: 12:30:00 is a number to base 60 in YAML")
    path.write_text("a: 1\ntime: 2020-01-01\nb: /data/0:1/x\nc: x010\n")
    assert numbers_of_another_base(path) == []
