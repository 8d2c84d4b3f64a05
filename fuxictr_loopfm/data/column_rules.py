"""What the entries of ``feature_cols`` and ``label_col`` may say, one by one and together.

FuxiCTR fails late and namelessly on most of it, and takes a key that it does not know for none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fuxictr_loopfm.data.evaluated import feature_problems
from fuxictr_loopfm.errors import did_you_mean
from fuxictr_loopfm.files.scalars import meant_bool, meant_number, meant_text
from fuxictr_loopfm.prepared.parts import character_problems, is_integer, short

HISTORY_TYPE = "loopfm_sequence"
TYPES = ("categorical", "numeric", "sequence", "meta")
DTYPES = ("str", "int", "float")
_DTYPES_OF_TYPE = {
    "numeric": ("int", "float"),
    "sequence": ("str",),
    "a label": ("int", "float"),
}
PADDINGS = ("pre", "post")
NORMALIZERS = ("StandardScaler", "MinMaxScaler")
_WHOLE = {"min_categr_count": 1, "embedding_dim": 1, "emb_output_dim": 1, "pretrain_dim": 1}
_TEXTS = ("source", "splitter", "share_embedding", "pretrained_emb", "pretrain_usage")
_KEYS = (
    *("name", "active", "dtype", "type", "fill_na", "preprocess", "normalizer", "max_len"),
    *("padding", "remap", "freeze_emb", "feature_encoder", "category_processor", "num_buckets"),
    *("vocab_size", *_WHOLE, *_TEXTS),
)


def column_problems(column: Mapping[str, Any], where: str) -> list[str]:
    """Everything wrong with one feature that is not a history."""
    problems = dtype_problems(column, where)
    problems += [f"{where}: {text}" for text in feature_problems(column)]
    problems += character_problems(where, column["name"])
    if column.get("type") not in TYPES:
        expected = [*TYPES, HISTORY_TYPE]
        problems.append(f"{where}: type: expected one of {expected}, found {column.get('type')!r}")
    if "category_processor" in column:
        problems.append(f"{where}: category_processor: FuxiCTR 2.3.10 cannot transform buckets")
    if column.get("normalizer", NORMALIZERS[0]) not in NORMALIZERS:
        found = column["normalizer"]
        problems.append(f"{where}: normalizer: expected one of {NORMALIZERS}, found {found!r}")
    if column.get("remap", True) is not True and column.get("type") != "meta":
        problems.append(f"{where}: remap: FuxiCTR 2.3.10 fits no vocabulary without it")
    if column.get("padding", "post") not in PADDINGS:
        problems.append(f"{where}: padding: expected pre or post, found {column['padding']!r}")
    max_len = column.get("max_len", 0)
    if not is_integer(max_len) or max_len < 0:
        problems.append(f"{where}: max_len: expected 0 or more, found {max_len!r}")
    problems += [f"{where}: {text}" for text in _key_problems(column)]
    return problems


def dtype_problems(column: Mapping[str, Any], where: str) -> list[str]:
    """What is wrong with the dtype of a feature or a label."""
    found = column.get("dtype")
    if found not in DTYPES:
        return [f"{where}: dtype: expected one of {DTYPES}, found {found!r}"]
    kind = column.get("type", "a label")
    expected = _DTYPES_OF_TYPE.get(str(kind), DTYPES)
    if found not in expected:
        return [f"{where}: dtype: expected {' or '.join(expected)} for {kind}, found {found!r}"]
    return []


def _key_problems(column: Mapping[str, Any]) -> list[str]:
    """Keys that FuxiCTR does not read, and values of a kind that it cannot use."""
    problems = [
        f"{key}: expected a key that FuxiCTR reads, found none{did_you_mean(key, _KEYS)}"
        for key in column
        if key not in _KEYS
    ]
    for key, least in _WHOLE.items():
        value = column.get(key, least)
        if not is_integer(value) or value < least:
            hint = meant_number(value)
            problems.append(f"{key}: expected {least} or more, found {short(value)}{hint}")
    for key in _TEXTS:
        value = column.get(key, "x")
        if value is None or value == "" and key == "splitter" or not isinstance(value, str):
            problems.append(f"{key}: expected a text, found {short(value)}{meant_text(value)}")
    for key in ("freeze_emb", "remap"):
        if not isinstance(column.get(key, True), bool):
            value = column[key]
            hint = meant_bool(value)
            problems.append(f"{key}: expected true or false, found {short(value)}{hint}")
    return problems + _fill_problems(column)


def _fill_problems(column: Mapping[str, Any]) -> list[str]:
    """A missing value is filled in before the column is encoded, so it has the column's type."""
    if "fill_na" not in column:
        return []
    value, dtype = column["fill_na"], column.get("dtype")
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if dtype == "str" and not isinstance(value, str):
        return [f"fill_na: expected a text as in the column, found {value!r}{meant_text(value)}"]
    if (dtype == "int" and not is_integer(value)) or (dtype == "float" and not number):
        return [f"fill_na: expected {dtype} as in the column, found {value!r}{meant_number(value)}"]
    return []


def sharing_problems(features: list[dict[str, Any]], where: str) -> list[str]:
    """Vocabularies that are shared with no column, or with one of another type."""
    problems: list[str] = []
    dtypes: dict[str, Any] = {}
    for column in features:
        name, shared = column["name"], column.get("share_embedding")
        if column.get("type") == HISTORY_TYPE:
            continue
        if shared is not None and shared not in dtypes:
            problems.append(
                f"{where}: {name}: share_embedding: expected a column described before {name}, "
                f"found {shared!r}"
            )
        elif shared is not None and dtypes[shared] != column.get("dtype"):
            problems.append(
                f"{where}: {name}: dtype: expected {dtypes[shared]!r} as in {shared!r}, whose "
                f"vocabulary it shares, found {column.get('dtype')!r}"
            )
        if column.get("type") in ("categorical", "sequence"):
            dtypes[name] = column.get("dtype")
    return problems
