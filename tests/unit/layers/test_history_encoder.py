"""A history's parts are summed into tokens and pooled for the target."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.layers import ENCODERS, HistoryBatch, HistoryEncoder

MASK = torch.tensor([[False, True, True], [False, False, False]])


def history() -> HistoryBatch:
    return HistoryBatch(
        mask=MASK,
        embedding=torch.tensor([[[7.0], [1.0], [2.0]], [[7.0], [7.0], [7.0]]]),
        label=torch.tensor([[0, 0, 2], [0, 0, 0]]),
        log_age=torch.tensor([[0.0, 3.0, 1.0], [0.0, 0.0, 0.0]]),
        ids={"item": torch.tensor([[0, 5, 6], [0, 0, 0]])},
    )


def encoder(**changes: object) -> HistoryEncoder:
    """All four inputs, with weights 1, bias 10, label vectors (0, 1), (0, 2), ids doubled."""
    settings: dict[str, object] = {
        "embedding_dim": 1,
        "use_label": True,
        "use_log_age": True,
        "id_dims": {"item": 2},
        "query_dim": 0,
        "encoder": "sum",
        "dim": 2,
    }
    built = HistoryEncoder(**(settings | changes))  # type: ignore[arg-type]
    with torch.no_grad():
        if built.embedding_input is not None:
            built.embedding_input.weight.fill_(1.0)
            built.embedding_input.bias.fill_(10.0)
        if built.label_input is not None:
            built.label_input.weight[1:] = torch.tensor([[0.0, 1.0], [0.0, 2.0]])
        if built.age_input is not None:
            built.age_input.weight.fill_(1.0)
            built.age_input.bias.zero_()
        if built.id_input is not None:
            built.id_input.weight.copy_(2 * torch.eye(2))
    return built


def id_embeddings() -> dict[str, Tensor]:
    return {"item": torch.tensor([[[9.0, 9.0], [0.5, 1.0], [1.5, 2.0]], [[9.0, 9.0]] * 3])}


def test_tokens_are_the_sum_of_their_parts_and_zero_at_padding() -> None:
    # Event 1: 1 + 10 + age 3 + 2 * id, label unknown. Event 2: 2 + 10 + age 1 + label (0, 2).
    expected = [[[0, 0], [15, 16], [16, 19]], [[0, 0]] * 3]
    assert encoder().tokens(history(), id_embeddings()).tolist() == expected


def test_pooled_history_of_a_known_batch() -> None:
    assert encoder()(history(), id_embeddings()).tolist() == [[31, 35], [0, 0]]
    assert encoder(encoder="mean")(history(), id_embeddings()).tolist() == [[15.5, 17.5], [0, 0]]


def test_ids_alone_make_a_history() -> None:
    raw = HistoryBatch(mask=MASK, ids=history().ids)
    built = encoder(embedding_dim=None, use_label=False, use_log_age=False)
    assert built(raw, id_embeddings()).tolist() == [[4, 6], [0, 0]]


@pytest.mark.parametrize("name", ENCODERS)
def test_padded_inputs_never_reach_output_or_gradients(name: str) -> None:
    torch.manual_seed(0)
    built = HistoryEncoder(
        embedding_dim=1,
        use_label=True,
        use_log_age=True,
        id_dims={"item": 2},
        query_dim=3,
        encoder=name,
        dim=4,
        num_heads=2,
    )
    query = torch.randn(2, 3)
    clean, ids = history(), id_embeddings()
    dirty = history()
    assert dirty.embedding is not None and dirty.log_age is not None and dirty.label is not None
    dirty.embedding[~MASK], dirty.log_age[~MASK], dirty.label[~MASK] = 1e6, -5.0, 2
    dirty_ids = {"item": ids["item"].masked_fill(~MASK.unsqueeze(-1), -1e6)}
    results = []
    for batch, embedded in ((clean, ids), (dirty, dirty_ids)):
        built.zero_grad()
        pooled = built(batch, embedded, query)
        assert pooled.shape == (2, built.output_dim)
        pooled.square().sum().backward()
        results.append((pooled.detach(), [p.grad for p in built.parameters()]))
    torch.testing.assert_close(results[0][0], results[1][0])
    assert torch.all(results[0][0][1] == 0)
    for left, right in zip(results[0][1], results[1][1], strict=True):
        assert left is not None and right is not None
        torch.testing.assert_close(left, right)


def test_unknown_label_stays_neutral_while_training() -> None:
    built = HistoryEncoder(
        embedding_dim=None, use_label=True, use_log_age=False, id_dims={}, query_dim=0,
        encoder="sum", dim=2,
    )  # fmt: skip
    optimizer = torch.optim.SGD(built.parameters(), lr=1.0)
    built(history()).sum().backward()
    optimizer.step()
    assert built.label_input is not None
    assert built.label_input.weight[0].tolist() == [0.0, 0.0]
    assert built.label_input.weight[2].tolist() != [0.0, 0.0]


def test_encoders_without_a_query_build_no_query_layer() -> None:
    assert encoder(encoder="sum").query_input is None
    assert isinstance(encoder(encoder="din", query_dim=3).query_input, nn.Linear)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("embedding", {"embedding": None}),
        ("label", {"label": None}),
        ("log_age", {"log_age": None}),
    ],
)
def test_missing_part_is_named(name: str, changes: dict[str, None]) -> None:
    batch = history()
    for key in changes:
        setattr(batch, key, None)
    with pytest.raises(ConfigError, match=f"built with {name}, which the batch does not carry"):
        encoder()(batch, id_embeddings())


def test_missing_id_field_is_named() -> None:
    with pytest.raises(ConfigError, match=r"built with ids\[item\]"):
        encoder()(history(), {})


def test_attention_without_query_fields_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"query: encoder 'din' .*found none"):
        encoder(encoder="din", query_dim=0)


def test_history_without_inputs_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="at least one of embedding, label, log_age, ids and length"
    ):
        encoder(embedding_dim=None, use_label=False, use_log_age=False, id_dims={})


def test_batch_moves_as_a_whole_and_knows_its_size() -> None:
    moved = history().to("meta")
    assert len(moved) == moved.batch_size == 2
    parts = [moved.mask, moved.embedding, moved.label, moved.log_age, moved.ids["item"]]
    assert [part.device.type for part in parts if part is not None] == ["meta"] * 5
    assert HistoryBatch(mask=MASK).to("meta").embedding is None


def test_length_alone_tells_the_number_of_events_and_nothing_else() -> None:
    torch.manual_seed(0)
    module = encoder(
        embedding_dim=None, use_label=False, use_log_age=False, id_dims={}, use_length=True
    )
    one = HistoryBatch(mask=torch.tensor([[False, True], [True, True]]))
    wider = HistoryBatch(mask=torch.tensor([[False, False, True], [False, True, True]]))
    query = torch.zeros(2, 1).expand(2, module.query_input.in_features if module.query_input else 1)
    pooled = module(one, {}, query)
    torch.testing.assert_close(pooled, module(wider, {}, query))
    assert not torch.equal(pooled[0], pooled[1])
