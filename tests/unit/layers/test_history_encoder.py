"""A history's parts are summed into tokens and pooled for the target."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.layers.base import EncoderSpec, SequenceEncoder
from fuxictr_loopfm.layers.batch import HistoryBatch, PackedEmbedding, PaddedHistory
from fuxictr_loopfm.layers.history import HistoryEncoder
from fuxictr_loopfm.layers.spans import Spans


def padded() -> PaddedHistory:
    return PaddedHistory(
        mask=torch.tensor([[False, True, True], [False, False, False]]),
        embedding=torch.tensor([[[7.0], [1.0], [2.0]], [[7.0], [7.0], [7.0]]]),
        label=torch.tensor([[2, 0, 2], [1, 1, 1]]),
        log_age=torch.tensor([[9.0, 3.0, 1.0], [9.0, 9.0, 9.0]]),
        ids={"item": torch.tensor([[4, 5, 6], [4, 4, 4]])},
    )


def history() -> HistoryBatch:
    return padded().ragged()


def encoder(**changes: object) -> HistoryEncoder:
    """All four inputs, with weights 1, bias 10, label vectors (0, 1), (0, 2), ids doubled."""
    settings: dict[str, object] = {
        "embedding_dim": 1,
        "use_label": True,
        "use_log_age": True,
        "id_dims": {"item": 2},
        "query_dim": 0,
        "encoder": EncoderSpec("sum", dim=2),
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
    return {"item": torch.tensor([[0.5, 1.0], [1.5, 2.0]])}


def test_ragged_drops_whatever_stands_at_padding() -> None:
    batch = history()
    assert len(batch) == len(padded()) == 2
    assert batch.spans.length.tolist() == [2, 0] and batch.spans.start.tolist() == [0, 2]
    assert batch.embedding is not None and batch.label is not None and batch.log_age is not None
    assert batch.embedding.tolist() == [[1], [2]] and batch.label.tolist() == [0, 2]
    assert batch.log_age.tolist() == [3, 1] and batch.ids["item"].tolist() == [5, 6]


def test_tokens_are_the_sum_of_their_parts() -> None:
    # Event 1: 1 + 10 + age 3 + 2 * id, label unknown. Event 2: 2 + 10 + age 1 + label (0, 2).
    expected = [[15, 16], [16, 19]]
    assert encoder().tokens(history(), id_embeddings()).tolist() == expected


def test_pooled_history_of_a_known_batch() -> None:
    assert encoder()(history(), id_embeddings()).tolist() == [[31, 35], [0, 0]]
    assert encoder(encoder=EncoderSpec("mean", dim=2))(history(), id_embeddings()).tolist() == [
        [15.5, 17.5],
        [0, 0],
    ]


def test_ids_alone_make_a_history() -> None:
    raw = HistoryBatch(history().spans, ids=history().ids)
    built = encoder(embedding_dim=None, use_label=False, use_log_age=False)
    assert built(raw, id_embeddings()).tolist() == [[4, 6], [0, 0]]


@pytest.mark.parametrize("name", ["sum", "mean"])
def test_pooling_before_projection_equivalence(name: str) -> None:
    """A linear pooling is the pooling of the tokens, with the same gradients."""
    torch.manual_seed(0)
    built = HistoryEncoder(
        embedding_dim=3, use_label=True, use_log_age=True, id_dims={"item": 2}, query_dim=0,
        encoder=EncoderSpec(name, dim=4),
    )  # fmt: skip
    lengths = torch.tensor([3, 0, 1, 4])
    batch = HistoryBatch(
        Spans.of_lengths(lengths),
        embedding=torch.randn(8, 3),
        label=torch.tensor([0, 1, 2, 2, 1, 0, 2, 1]),
        log_age=torch.rand(8),
        ids={"item": torch.arange(8)},
    )
    ids = {"item": torch.randn(8, 2)}
    assert isinstance(built.encoder, SequenceEncoder)
    by_tokens = built.encoder(built.tokens(batch, ids), batch.spans)
    weighting = torch.randn_like(by_tokens)
    expected = torch.autograd.grad((by_tokens * weighting).sum(), list(built.parameters()))
    pooled = built(batch, ids)
    torch.testing.assert_close(pooled, by_tokens)
    found = torch.autograd.grad((pooled * weighting).sum(), list(built.parameters()))
    torch.testing.assert_close(found, expected)


def test_packed_embeddings_unpack_by_place_and_keep_a_prefix() -> None:
    table = torch.zeros(512, 2)
    table[5], table[256 + 7] = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    codes = torch.tensor([[5, 7], [0, 7]], dtype=torch.uint8)
    assert PackedEmbedding(codes, table, 4).unpack().tolist() == [[1, 2, 3, 4], [0, 0, 3, 4]]
    assert PackedEmbedding(codes, table, 3).unpack().tolist() == [[1, 2, 3], [0, 0, 3]]
    values = torch.tensor([[0.5, -1.0]], dtype=torch.float16)
    assert PackedEmbedding(values, None, 1).unpack().tolist() == [[0.5]]


def test_unknown_label_stays_neutral_while_training() -> None:
    built = HistoryEncoder(
        embedding_dim=None, use_label=True, use_log_age=False, id_dims={}, query_dim=0,
        encoder=EncoderSpec("sum", dim=2),
    )  # fmt: skip
    optimizer = torch.optim.SGD(built.parameters(), lr=1.0)
    built(history()).sum().backward()
    optimizer.step()
    assert built.label_input is not None
    assert built.label_input.weight[0].tolist() == [0.0, 0.0]
    assert built.label_input.weight[2].tolist() != [0.0, 0.0]


def test_encoders_without_a_query_build_no_query_layer() -> None:
    assert encoder(encoder=EncoderSpec("sum", dim=2)).query_input is None
    assert isinstance(
        encoder(encoder=EncoderSpec("din", dim=2), query_dim=3).query_input, nn.Linear
    )


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
        encoder(encoder=EncoderSpec("din", dim=2), query_dim=0)


def test_history_without_inputs_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="at least one of embedding, label, log_age, ids and length"
    ):
        encoder(embedding_dim=None, use_label=False, use_log_age=False, id_dims={})


@pytest.mark.parametrize("batch", [padded(), padded().ragged()])
def test_batch_moves_as_a_whole_and_knows_its_size(batch: HistoryBatch | PaddedHistory) -> None:
    moved = batch.to("meta")
    assert len(moved) == 2
    where = moved.mask if isinstance(moved, PaddedHistory) else moved.spans.length
    parts = [where, moved.embedding, moved.label, moved.log_age, moved.ids["item"]]
    assert [part.device.type for part in parts if isinstance(part, Tensor)] == ["meta"] * 5


def test_length_alone_tells_the_number_of_events_and_nothing_else() -> None:
    torch.manual_seed(0)
    module = encoder(
        embedding_dim=None, use_label=False, use_log_age=False, id_dims={}, use_length=True
    )
    assert module.length_input is not None
    pooled = module(HistoryBatch(Spans.of_lengths(torch.tensor([1, 3]))))
    expected = module.length_input(torch.log(torch.tensor([[2.0], [4.0]])))
    torch.testing.assert_close(pooled, expected)
