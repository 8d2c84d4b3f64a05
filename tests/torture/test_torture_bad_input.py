"""Wrong inputs are answered; an answer that is none is noticed; the page is current."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fuxictr_loopfm.commands.registry import COMMANDS
from tests.torture import bad_input
from tests.torture.__main__ import run_apart
from tests.torture.bad_input_cases import DONE, Case, complaints, load_cases

SCRIPTS = (
    *("custom.py", "kuairand_pure.py", "movielens_100k.py", "taobao_ad.py"),
    *(
        "amazon_electronics.py",
        "amazon_reviews.py",
        "kuai_video.py",
        "run_expid.py",
        "run_param_tuner.py",
    ),
)


@pytest.mark.slow
def test_wrong_inputs_are_answered(tmp_path: Path) -> None:
    section = run_apart("bad_input", tmp_path, short=True)
    assert section.survivors == []
    assert sum(section.tried.values()) >= 80


def test_the_cases_cover_every_command_and_each_says_what_to_do() -> None:
    cases = load_cases()
    assert len(cases) >= 80 and len({case.id for case in cases}) == len(cases)
    commands = {*SCRIPTS, *(f"loopfm {name}" for name in COMMANDS)}
    assert commands <= {case.program for case in bad_input.half(cases)}
    for case in cases:
        assert case.code == DONE or case.says["remedy"], case.id
        assert case.code == DONE or {"file", "key"} & case.says.keys(), case.id
        assert case.code == DONE or {"expected", "found"} & case.says.keys(), case.id


def test_the_page_is_what_the_cases_give() -> None:
    assert bad_input.PAGE.read_text(encoding="utf-8") == bad_input.page(load_cases())


GOOD = "Encode\nerror: model.yaml: seed: expected 0 or more, found -1. Change it.\n"


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, None),
        ({"code": 0}, "exit code: expected 1, found 0"),
        ({"error": "Traceback (most recent call last)\n" + GOOD}, "a traceback"),
        ({"error": GOOD + "error: and another"}, "messages: expected 1, found 2"),
        ({"error": "seed"}, "messages: expected 1, found 0"),
        ({"error": GOOD.replace("found -1", "")}, "found: expected 'found -1' in the message"),
        ({"changed": ["data/x", "runs/y"]}, "left behind: runs/y"),
        ({"changed": ["data/.loopfm-tmp-1"]}, "left behind: data/.loopfm-tmp-1"),
    ],
)
def test_an_answer_that_is_none_is_noticed(changes: dict[str, Any], wrong: str | None) -> None:
    says = {"file": "model.yaml", "key": "seed", "found": "found -1", "remedy": "Change it."}
    case = Case("seed", "a negative seed", "run_expid.py", says, leaves=("data/",))
    found = complaints(case, {"code": 1, "error": GOOD, "changed": [], **changes})
    assert found == [] if wrong is None else wrong in found
