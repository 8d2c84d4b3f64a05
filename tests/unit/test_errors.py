"""The hint at a misspelt name, which every message takes from one function."""

from __future__ import annotations

from fuxictr_loopfm.errors import did_you_mean


def test_the_nearest_name_is_hinted_at_and_none_where_none_is_near() -> None:
    assert did_you_mean("genr", ["genre", "user", "gender"]) == " (did you mean 'genre'?)"
    assert did_you_mean("zzzz", ["genre", "user"]) == did_you_mean("genre", []) == ""
    assert did_you_mean(12, [123, "x"]) == " (did you mean '123'?)"
