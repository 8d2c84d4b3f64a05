"""The ``loopfm_*`` keys: what is refused, what is coerced, and what a method is called."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from fuxictr_loopfm.config.key_rules import choices, read_keys
from fuxictr_loopfm.config.keys import LoopFMKeys, default_values, known_options
from fuxictr_loopfm.config.names import split_names
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.evidence.methods import METHODS, VERTICAL_METHODS
from fuxictr_loopfm.spec import SequenceSpec


def keys(**values: Any) -> LoopFMKeys:
    given = {f"loopfm_{name}": value for name, value in values.items()}
    return read_keys(given, "here: exp")


def problems(**values: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        keys(**values)
    return caught.value.problems


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("encodr", "encoder"), ("max_length", "max_len"), ("kd_labelscale", "kd_label_scale")],
)
def test_an_unknown_key_names_the_nearest(name: str, nearest: str) -> None:
    expected = f"here: exp: unknown key loopfm_{name} (did you mean 'loopfm_{nearest}'?)"
    assert problems(**{name: 1}) == [expected]


def test_an_unknown_key_like_no_other_lists_all() -> None:
    (text,) = problems(zzzzzzzzzzzz=1)
    assert "known: [" in text and "'max_len'" in text


def test_other_params_are_ignored() -> None:
    params = {"model": "DeepFM", "loop": 1, 7: "x", "loopfm_dim": 16}
    assert read_keys(params, "here") == LoopFMKeys(dim=16)


def test_all_problems_come_at_once() -> None:
    assert problems(codek="int8", dim="wide", backfill=1) == [
        "here: exp: unknown key loopfm_codek (did you mean 'loopfm_codec'?)",
        "here: exp: loopfm_dim: expected int, found 'wide'",
        "here: exp: loopfm_backfill: expected bool, found 1",
    ]
    found = problems(codec="int3", max_len=0, kd_weight=-1, kd="head", teacher="t")
    assert len(found) == 4
    assert "loopfm_codec: expected one of ['f32'" in "\n".join(found)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("dim", 8.0, 8),
        ("delay_seconds", 5, 5.0),
        ("compressor_lr", "1e-3", 1e-3),
        ("window_seconds", None, None),
        ("validation", True, True),
        ("event_filter", "label == 1", "label == 1"),
    ],
)
def test_values_are_taken_as_yaml_gives_them(name: str, given: Any, expected: Any) -> None:
    values = keys(**{name: given})
    found = values.options[name] if name in values.options else getattr(values, name)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("dim", 8.5, "expected int, found 8.5"),
        ("dim", True, "expected int, found True"),
        ("dim", None, "expected int, found null"),
        ("dim", [8, 16], r"expected int, found [8, 16]"),
        ("delay_seconds", "soon", "expected a number, found 'soon'"),
        ("taps", ["emb"], "expected str, found ['emb']"),
        ("taps", False, "expected str, found False; YAML reads NO, off and false so, put it in"),
        ("dim", "8", "expected int, found '8'; it is a text, write 8 without quotes"),
        ("backfill", "no", "expected bool, found 'no'; in quotes it is a text, write no without"),
        ("encoder", "gru", "expected one of ['mean', 'sum', 'din', "),
        ("num_shards", 0, "expected at least 1, found 0"),
        ("threads", -1, "expected at least 1, found -1"),
        ("delay_seconds", -1, "expected 0 or more, found -1.0"),
        ("history", "embeding", "expected columns among ['embedding', 'label'"),
        ("dim", float("nan"), "expected int, found nan"),
        ("kd_weight", float("nan"), "expected a finite number, found nan"),
        ("window_seconds", float("inf"), "expected a finite number, found inf"),
        ("window_seconds", 0, "expected more than loopfm_delay_seconds=0.0, found 0.0"),
        ("encoder_dropout", 1, "expected less than 1, found 1.0"),
        (
            "matryoshka_dims",
            "8+33",
            "expected widths of 1 to loopfm_dim=32 joined by '+', found '33'",
        ),
        ("matryoshka_dims", "8+x", "found 'x'"),
    ],
)
def test_wrong_values_are_refused(name: str, value: Any, message: str) -> None:
    (text,) = problems(**{name: value, "teacher": "t"})
    assert text.startswith(f"here: exp: loopfm_{name}: ") and message in text


@pytest.mark.parametrize("encoder", ["dmin", "self_attention"])
def test_heads_must_divide_the_width_of_an_encoder_that_has_heads(encoder: str) -> None:
    (text,) = problems(encoder=encoder, encoder_dim=30)
    expected = "loopfm_encoder_dim: expected a multiple of loopfm_encoder_heads=4, found 30"
    assert text == f"here: exp: {expected}"
    assert keys(encoder="mean", encoder_dim=30).encoder_dim == 30


@pytest.mark.parametrize("method", [name for name in VERTICAL_METHODS if name[-2:] != "-1"])
def test_every_benchmark_method_is_named_after_its_keys(method: str) -> None:
    changes = {k.removeprefix("loopfm_"): v for k, v in METHODS[method].keys.items()}
    found = keys(teacher="t", **changes)
    assert found.method == method
    teacherless = ("base", "base-all", "raw", "raw+label", "raw-all")
    assert found.needs_teacher is (method not in teacherless)


def test_raw_events_of_all_periods_unless_embeddings_or_the_user_say_otherwise() -> None:
    by_history = {"ids": True, "label": True, "embedding+ids": False, None: False}
    for history, stores in by_history.items():
        found = keys(teacher="t", history=history)
        assert (found.stores_training, found.logs_training) == (stores, False)
    for said in (True, False):
        found = keys(teacher="t", history="ids", backfill=said)
        assert (found.stores_training, found.logs_training) == (said, said)
        assert found.method == ("raw" if said else "raw_seq")


def test_what_a_teacher_did_not_log_is_not_trained_on() -> None:
    (text,) = problems(teacher="t", kd="aux_head", train_on="all")
    assert "loopfm_train_on: expected vertical" in text
    assert keys(history="ids", train_on="all").method == "raw-all"


def test_other_combinations_have_names_of_their_own() -> None:
    named = {
        keys(teacher="t", history=history, kd=kd).method
        for history in (None, "embedding", "ids", "embedding+ids", "log_age", "embedding+label")
        for kd in choices()["kd"]
    }
    assert len(named) == 6 * len(choices()["kd"])


@pytest.mark.parametrize("values", [{"kd": "aux_head"}, {"history": "label+embedding"}])
def test_what_reads_a_teacher_must_name_one(values: dict[str, Any]) -> None:
    (text,) = problems(**values)
    assert "loopfm_teacher: expected the expid of a foundation model" in text
    keys(**values, teacher="t")


@pytest.mark.parametrize("values", [{"kd": "aux_head"}, {"current": "embedding"}, {"hint": "crd"}])
def test_a_teacher_is_distilled_from_nobody(values: dict[str, Any]) -> None:
    (text,) = problems(**values, view="teacher")
    (name,) = values
    assert f"loopfm_{name}: expected none for a teacher's expid" in text


def test_a_teacher_may_have_a_history_but_none_that_knows_its_labels() -> None:
    keys(history="ids+label", view="teacher")
    keys(history="embedding", teacher="other", view="teacher", train_periods=2)
    (text,) = problems(history="embedding", teacher="other", view="teacher", backfill=True)
    assert "loopfm_backfill: expected false for a teacher that reads past embeddings" in text
    assert "loopfm_train_periods: expected null" in problems(train_periods=2)[0]
    assert "expected 1 or more, found 0" in problems(train_periods=0, view="teacher")[0]


def test_a_prefix_must_lie_within_the_embedding() -> None:
    keys(dim=32, prefix_dim=32)
    assert "loopfm_prefix_dim: expected 1 to loopfm_dim=32, found 33" in problems(prefix_dim=33)[0]


@pytest.mark.parametrize(("unit", "scale"), [("s", 1), ("ms", 1000), ("us", 10**6)])
def test_seconds_become_the_logs_unit(unit: str, scale: int) -> None:
    found = keys(max_len=5, delay_seconds=1.5, window_seconds=60, label_delay_seconds=2)
    expected = SequenceSpec(5, 1 if unit == "s" else 3 * scale // 2, 60 * scale, 2 * scale)
    assert found.sequence_spec(unit) == expected


@pytest.mark.parametrize(
    ("seconds", "delay", "window"),
    [
        (0, 0, None),
        (0.4, 1, None),
        (1, 1, 1),
        (1.5, 1, 1),
        (2, 2, 2),
        (2.999, 2, 2),
        (1e-9, 1, None),
    ],
)
def test_parts_of_a_unit_never_make_the_past_longer(
    seconds: float, delay: int, window: int | None
) -> None:
    found = keys(delay_seconds=seconds, label_delay_seconds=seconds).sequence_spec("s")
    assert (found.delay, found.label_delay) == (delay, delay)
    if window is None and seconds:
        with pytest.raises(ConfigError, match=f"loopfm_window_seconds.*'s'.*found {seconds:g}"):
            keys(window_seconds=seconds).sequence_spec("s")
    elif window is not None:
        assert keys(window_seconds=seconds).sequence_spec("s").window == window


def test_seconds_count_as_they_are_written() -> None:
    # 0.29 * 100 is 28.999999999999996 in floats, and 1.001 * 1000 is 1000.9999999999999.
    found = keys(delay_seconds=1.001, window_seconds=1.009, label_delay_seconds=0.057)
    assert found.sequence_spec("ms") == SequenceSpec(30, 1001, 1009, 57)


def test_a_filter_on_an_outcome_waits_until_it_is_known() -> None:
    known = {"dwell": "after_label_delay", "place": "at_impression", "sold": {"after_seconds": 90}}
    values = {"delay_seconds": 5, "label_delay_seconds": 60}
    for column, delay in {"dwell": 60, "place": 5, "sold": 90, "genre": 5, "label": 60}.items():
        found = keys(**values, event_filter=f"{column} == 1").sequence_spec("s", known)
        assert found.delay == delay, column
    assert keys(**values, event_filter="dwell == 1").sequence_spec("s").delay == 5


def test_a_filter_on_the_label_waits_for_the_label() -> None:
    values = {"delay_seconds": 5, "label_delay_seconds": 60}
    for text, delay in {
        **{"label == 1": 60, " label == 1": 60, "label!=1": 60},
        **{"genre == x": 5, "label_2 == 1": 5},
    }.items():
        assert keys(**values, event_filter=text).sequence_spec("s").delay == delay, text
    assert keys(**values).sequence_spec("s").delay == 5
    assert keys(delay_seconds=90, event_filter="label > 0").sequence_spec("s").delay == 90


def test_names_joined_by_plus() -> None:
    assert split_names("emb + hidden_0+deep") == ("emb", "hidden_0", "deep")
    assert split_names(None) == split_names("") == ()


def test_defaults_are_a_valid_configuration_with_every_key() -> None:
    values = default_values()
    own = {field.name for field in fields(LoopFMKeys)} - {"options"}
    assert set(values) == {f"loopfm_{name}" for name in own | set(known_options())}
    assert read_keys(values, "defaults") == LoopFMKeys()
