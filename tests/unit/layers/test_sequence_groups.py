"""Target and sequence settings become groups, or one error that lists all that is wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.layers.groups import concat_sequences, field_groups, sequence_groups


def features() -> dict[str, dict[str, Any]]:
    return {
        "item": {"type": "categorical"},
        "cate": {"type": "categorical", "embedding_dim": 4},
        "item_his": {"type": "sequence", "max_len": 5},
        "cate_his": {"type": "sequence", "max_len": 5, "embedding_dim": 4},
    }


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (None, []),
        ([], []),
        ((), []),
        ("", []),
        ("a", [("a",)]),
        (("a", "b"), [("a", "b")]),
        (["a", "b"], [("a",), ("b",)]),
        ([("a", "b")], [("a", "b")]),
        ([["a", "b"], "c"], [("a", "b"), ("c",)]),
    ],
)
def test_settings_name_groups(setting: Any, expected: list[tuple[str, ...]]) -> None:
    assert field_groups(setting) == expected


@pytest.mark.parametrize("setting", [[["a", ["b"]]], [[]], [("a", 3)]])
def test_other_settings_are_refused(setting: Any) -> None:
    with pytest.raises(ConfigError, match="expected a name, or a list"):
        field_groups(setting)


def test_group_has_the_width_of_its_fields() -> None:
    (group,) = sequence_groups(features(), 8, ("item", "cate"), ("item_his", "cate_his"))
    assert (group.width, group.max_len, group.negative) == (12, 5, ())


def test_null_settings_make_no_group() -> None:
    without = {name: spec for name, spec in features().items() if spec["type"] == "categorical"}
    assert sequence_groups(without, 8, None, []) == []


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        sequence_groups(features(), 8, ["item", "cate"], ["item_hist"], ["a", "b"])
    text = str(caught.value)
    for part in ("found 2", "and 1", "negative sequence fields", "'item_hist'", "'a'", "'b'"):
        assert part in text
    assert len(caught.value.problems) == 5


def test_widths_and_lengths_must_agree() -> None:
    with pytest.raises(ConfigError, match=r"expected the width 8 .*'item'.*found 4"):
        sequence_groups(features(), 8, ["item", "item"], ["cate_his", "item_his"])
    longer = features() | {"item_his": {"type": "sequence", "max_len": 6}}
    with pytest.raises(ConfigError, match=r"one max_len, found .*'item_his': 6, 'cate_his': 5"):
        sequence_groups(longer, 8, ("item", "cate"), ("item_his", "cate_his"))
    with pytest.raises(ConfigError, match="'cate': None"):
        sequence_groups(features(), 8, ("item", "cate"), ("item_his", "cate"))


def test_sequence_that_nothing_pools_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"sequence 'cate_his': .*no sequence module reads it"):
        sequence_groups(features(), 8, "item", "item_his")
    pooled = features()
    pooled["cate_his"]["feature_encoder"] = "layers.MaskedAveragePooling()"
    assert len(sequence_groups(pooled, 8, "item", "item_his")) == 1


def test_sequence_pooled_too_early_is_refused_with_the_remedy() -> None:
    embeddings = {"a": torch.zeros(2, 5, 3), "b": torch.zeros(2, 3)}
    assert concat_sequences(embeddings, ["a", "a"]).shape == (2, 5, 6)
    with pytest.raises(ConfigError, match=r"sequences \['b'\].*name: \[b\], feature_encoder: null"):
        concat_sequences(embeddings, ["a", "b"])
