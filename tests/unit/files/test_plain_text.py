"""YAML and JSON of strangers: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fuxictr_loopfm.files import plain_text
from fuxictr_loopfm.files.plain_text import PlainTextError, load_json, load_yaml


def yaml_of(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    return load_yaml(path)


def test_merge_keys_aliases_and_tuples_work(tmp_path: Path) -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\nt: !!python/tuple [1, [2]]\n"
    found = yaml_of(tmp_path, text)
    assert found["b"] == {"x": 1, "y": 3} and found["c"] == [{"x": 1, "y": 2}] * 2
    assert found["t"] == (1, [2])


def test_a_key_that_overrides_a_merged_one_is_no_duplicate_wherever_it_is_built(
    tmp_path: Path,
) -> None:
    text = "z: {d: {e: &m {<<: &n {k: 1}, k: 2}}}\nb: {<<: *m, k: 3}\n"
    assert yaml_of(tmp_path, text)["b"] == {"k": 3}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2\n", "the key 'a' occurs twice"),
        ("a: {b: 1, b: 2}\n", "the key 'b' occurs twice"),
        ("a: &a [*a]\n", "an alias inside of what it stands for"),
        ("a: " + "[" * 60 + "]" * 60, "nested deeper than 50"),
        ("a: &a [[[[1]]]]\n" * 1 + "b: " + "[" * 47 + "*a" + "]" * 47, "50 levels"),
        ("!!python/object/apply:os.system [x]", "is not plain YAML"),
        ("a: 2024-13-01", "month must be in 1..12"),
        ("? [1]\n: 2", "unhashable"),
        ('a: "\\ud800"', "surrogates not allowed"),
        ("a: !!python/tuple x", "a tuple needs a list"),
    ],
)
def test_yaml_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(PlainTextError, match=words):
        yaml_of(tmp_path, text)


def test_aliases_may_not_stand_for_more_than_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"a: &a {'x' * 90}\nb: [*a, *a]\n"
    monkeypatch.setattr(plain_text, "MAX_EXPANDED", 300)
    assert len(yaml_of(tmp_path, text)["b"]) == 2
    monkeypatch.setattr(plain_text, "MAX_EXPANDED", 250)
    with pytest.raises(PlainTextError, match="more than 250 characters"):
        yaml_of(tmp_path, text)


def test_size_is_limited_before_anything_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_text, "MAX_YAML_BYTES", 10)
    assert yaml_of(tmp_path, "a: 345678\n") == {"a": 345678}
    with pytest.raises(PlainTextError, match="expected at most 10 bytes, found 11"):
        yaml_of(tmp_path, "a: 3456789\n")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"[" * 100_000, "nested too deeply"), (b'{"a": "\\ud800"}', "surrogates"), (b"\xff", "UTF-8"),
     (b'{"a": ' + b"9" * 5000 + b"}", "integer string"), (b"{", "Expecting")],
)  # fmt: skip
def test_json_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(PlainTextError, match=words):
        load_json(path)
    with pytest.raises(PlainTextError, match="no regular file"):
        load_json(tmp_path)
