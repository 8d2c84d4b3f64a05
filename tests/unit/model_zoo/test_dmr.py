"""DMR's relevances equal loops over behaviours; contexts, output tables and the match."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from zoo_models import (
    DIM,
    FEATURES,
    HISTORIES,
    ITEMS,
    MAX_LEN,
    NEGATIVES,
    PLAIN,
    SAMPLED,
    SEQUENCES,
    SEQUENTIAL,
    batch,
    build,
    categorical,
    enlarge,
    group,
    part,
    predict,
    scattered,
    sequence,
    sequential,
    up_to,
    with_negatives,
)

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.host.sequence_model import ScoreSettings

relevance = part("DMR", "relevance")


def related(kind: str, context_width: int) -> Any:
    torch.manual_seed(0)
    arguments = (True,) if kind == "ItemToItem" else ()
    settings = relevance.RelevanceSettings(ScoreSettings((6,), "ReLU", 0.0), pos_emb_dim=3)
    return scattered(getattr(relevance, kind)(group(4), settings, context_width, *arguments))


def scores_by_loop(attention: Any, events: Tensor, given: list[Tensor]) -> Tensor:
    scores = []
    for j, s in enumerate(events):
        q = attention.query(torch.cat([*[g[j] for g in given], attention.position.weight[j]]))
        q = q.relu()
        scores.append(attention.score(torch.cat([q, s, q - s, q * s])))
    return torch.cat(scores)


@pytest.mark.parametrize("context_width", [0, 2])
def test_relevances_equal_loops_over_behaviours(context_width: int) -> None:
    to_item, to_user = related("ItemToItem", context_width), related("UserToItem", context_width)
    sequences, targets = torch.randn(3, MAX_LEN, 4), torch.randn(3, 4)
    contexts = [torch.randn(3, MAX_LEN, context_width)] if context_width else []
    lengths = (3, 1, 6)
    mask = up_to(*lengths)
    pooled, relevances = to_item(sequences, targets, mask, contexts)
    users = to_user(sequences, mask, contexts)
    for row, length in enumerate(lengths):
        events = sequences[row, :length]
        given = [c[row, :length] for c in contexts]
        repeated = targets[row].expand(length, -1)
        scores = scores_by_loop(to_item.attention, events, [repeated, *given])
        torch.testing.assert_close(pooled[row], scores.softmax(0) @ events)
        torch.testing.assert_close(relevances[row, 0], scores.sum())
        own = scores_by_loop(to_user.attention, events, given).softmax(0) @ events
        torch.testing.assert_close(users[row], to_user.output(own).relu())


def test_no_behaviour_gives_no_user_and_no_relevance() -> None:
    """Whatever the networks' offsets are."""
    sequences, mask = torch.randn(2, MAX_LEN, 4), torch.zeros(2, MAX_LEN, dtype=torch.bool)
    pooled, relevances = related("ItemToItem", 0)(sequences, torch.randn(2, 4), mask, [])
    user = related("UserToItem", 0)(sequences, mask, [])
    assert all(torch.all(found == 0.0) for found in (pooled, relevances, user))


def test_match_is_the_product_of_user_and_output_table() -> None:
    built = sequential("DMR")
    inputs = batch()
    seen: list[Tensor] = []
    built.dnn.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    users: list[Tensor] = []
    built.user_to_item[0].register_forward_hook(lambda _m, _i, user: users.append(user))
    predict(built, inputs)
    tables = built.output_tables.tables
    item = torch.cat([tables["item"](inputs["item"]), tables["cate"](inputs["cate"])], dim=1)
    torch.testing.assert_close(seen[0][:, -1], (users[0] * item).sum(dim=1))
    assert seen[0].shape[1] == DIM * len(PLAIN) + 2 * DIM + 1


def test_the_users_query_learns_from_the_first_step_on() -> None:
    """A ReLU of exactly 0 passes no gradient, so positions must not start at 0."""
    built = build("DMR", FEATURES, **SEQUENTIAL["DMR"])
    for table in (built.output_tables, built.embedding_layer):
        enlarge(table)
    inputs = batch()
    built.compute_loss(built(inputs), built.get_labels(inputs)).backward()
    attention = built.user_to_item[0].attention
    assert attention.query.weight.grad.abs().max() > 0
    assert attention.position.weight.grad.abs().max() > 0


def test_output_tables_are_there_when_they_are_read_or_asked_for() -> None:
    def size(**changes: Any) -> int:
        built = sequential("DMR", **changes)
        return sum(p.numel() for p in built.output_tables.parameters())

    assert size() == size(enable_u2i_rel=False, legacy_output_tables=True) == 2 * ITEMS * DIM
    assert size(enable_u2i_rel=False) == 0


def test_context_that_is_no_behaviour_reaches_the_query_only() -> None:
    features = FEATURES | {"kind": categorical(), "kind_his": sequence("kind")}
    built = enlarge(build("DMR", features, **SEQUENTIAL["DMR"], context_field="kind_his"))
    without = sequential("DMR")
    extra = DIM  # the feature "kind" itself; its sequence goes into the attention alone
    assert built.dnn.mlp[0].in_features == without.dnn.mlp[0].in_features + extra
    inputs = batch() | {"kind": torch.ones(4, dtype=torch.int64)}
    inputs["kind_his"] = inputs["item_his"]
    moved = inputs | {"kind_his": (inputs["item_his"] % 3 + 1) * (inputs["item_his"] > 0)}
    changed = (predict(built, inputs) - predict(built, moved)).abs().squeeze(1) > 1e-6
    # With one behaviour there is nothing to weigh, with none nothing to change.
    assert changed.tolist() == [True, False, False, True]
    elsewhere = inputs | {"kind_his": torch.where(inputs["item_his"] > 0, inputs["kind_his"], 5)}
    torch.testing.assert_close(predict(built, elsewhere), predict(built, inputs))


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (["cate_his", "item_his"], "as many groups as sequences, 1, found 2"),
        ("kind_his", "'kind_his': expected a sequence of max_len 6, .* found None"),
        ("cate", "'cate': expected a sequence of max_len 6, .* found None"),
    ],
)
def test_context_that_does_not_fit_is_refused(context: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sequential("DMR", context_field=context)


def test_newest_ids_stand_at_the_last_valid_position() -> None:
    mask = torch.tensor([[True, True, False], [False, True, True], [False] * 3, [True] * 3])
    ids = {"a": torch.tensor([[4, 5, 0], [0, 6, 7], [0, 0, 0], [1, 2, 3]])}
    (found,) = relevance.newest_ids(ids, ["a"], mask)
    assert found.tolist() == [5, 7, 0, 3]


def test_the_auxiliary_loss_of_known_samples() -> None:
    user = torch.tensor([[1.0, 2.0], [9.0, 9.0]])
    actual = torch.tensor([[3.0, -0.5], [9.0, 9.0]])  # inner product 2
    sampled = torch.tensor([[0.5, 0.5], [9.0, 9.0]])  # inner product 1.5
    loss = relevance.match_loss(user, actual, sampled, torch.tensor([True, False]))
    expected = (math.log1p(math.exp(-2.0)) + math.log1p(math.exp(1.5))) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    nothing = relevance.match_loss(user, actual, sampled, torch.tensor([False, False]))
    assert nothing.item() == 0.0


def test_dmr_tells_the_newest_behaviour_by_the_older_ones() -> None:
    """By hand from the parts: the user without the newest, and both items' output embeddings."""
    settings = SEQUENTIAL["DMR"] | {"neg_seq_field": SAMPLED, "aux_loss_beta": 0.3}
    built = enlarge(build("DMR", FEATURES | NEGATIVES, **settings))
    inputs = with_negatives()
    older = {name: inputs[name].clone() for name in SEQUENCES}
    for row, history in enumerate(HISTORIES):
        if history:
            for name in SEQUENCES:
                older[name][row, len(history) - 1] = 0
    users: list[Tensor] = []
    built.user_to_item[0].register_forward_hook(lambda _m, _i, user: users.append(user))
    predict(built, inputs | older)
    tables, terms = built.output_tables.tables, []
    for row, history in enumerate(HISTORIES):
        if len(history) < 2:
            continue
        for names, sign in ((SEQUENCES, -1.0), (SAMPLED, 1.0)):
            ids = [inputs[name][row, len(history) - 1] for name in names]
            item = torch.cat([tables["item"](ids[0]), tables["cate"](ids[1])])
            terms.append(F.softplus(sign * users[0][row] @ item))
    found = built.train()(inputs)["aux_loss"]
    torch.testing.assert_close(found, torch.stack(terms).mean())
