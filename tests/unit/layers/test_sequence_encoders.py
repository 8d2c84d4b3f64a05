"""Every sequence encoder keeps the contract on windows; each one computes what it says."""

from __future__ import annotations

import math

import pytest
import torch
from ragged import windows
from torch import Tensor, nn

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.layers.base import EncoderSpec, SequenceEncoder, attend_within, masked_softmax
from fuxictr_loopfm.layers.dmin import DMIN
from fuxictr_loopfm.layers.pooling import MeanPooling, SumPooling
from fuxictr_loopfm.layers.registry import ENCODERS, build_encoder
from fuxictr_loopfm.layers.spans import Spans
from fuxictr_loopfm.layers.target_attention import DINAttention
from fuxictr_loopfm.layers.transformer import SelfAttention, SelfAttentionBlock

DIM, HEADS, MAX_LEN = 8, 2, 12
LENGTHS = (5, 0, 1, 7)


def left_mask(lengths: tuple[int, ...], max_len: int) -> Tensor:
    return torch.arange(max_len) >= max_len - torch.tensor(lengths).unsqueeze(1)


def build(name: str) -> SequenceEncoder:
    torch.manual_seed(0)
    options = {"heads": HEADS, "layers": 2}
    known = {option.name for option in ENCODERS[name].options}
    given = {option: value for option, value in options.items() if option in known}
    encoder = build_encoder(EncoderSpec(name, DIM, MAX_LEN, given))
    for parameter in encoder.parameters():  # positions and biases start at or near zero
        nn.init.normal_(parameter, std=0.5)
    return encoder.eval()


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Histories of ``LENGTHS`` events, left-padded, which is easy to index."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randn(len(LENGTHS), 7, DIM, generator=generator)
    query = torch.randn(len(LENGTHS), DIM, generator=generator)
    return tokens, left_mask(LENGTHS, 7), query


def pooled(encoder: SequenceEncoder, tokens: Tensor, mask: Tensor, query: Tensor) -> Tensor:
    """The encoder's output on the events that ``mask`` marks."""
    result: Tensor = encoder(tokens[mask], windows(mask), query)
    return result


def run(
    encoder: SequenceEncoder, tokens: Tensor, mask: Tensor, query: Tensor
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """Output, gradients of tokens and query, gradients of parameters, under a fixed weighting."""
    encoder.zero_grad()
    tokens, query = tokens.clone().requires_grad_(), query.clone().requires_grad_()
    output = pooled(encoder, tokens, mask, query)
    weighting = torch.linspace(-1, 1, output.numel()).view_as(output)
    (output * weighting).sum().backward()
    by_query = torch.zeros_like(query) if query.grad is None else query.grad
    assert tokens.grad is not None
    gradients = [p.grad.clone() for p in encoder.parameters() if p.grad is not None]
    return output.detach(), tokens.grad, by_query, gradients


def run_rows(
    encoder: SequenceEncoder, events: Tensor, rows: Tensor, spans: Spans, query: Tensor
) -> list[Tensor]:
    """Output and the gradients of events, query and parameters."""
    encoder.zero_grad()
    events, query = events.clone().requires_grad_(), query.clone().requires_grad_()
    output = encoder(events[rows], spans, query)
    (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    gradients = [events.grad, query.grad, *(p.grad for p in encoder.parameters())]
    return [output.detach(), *(g.clone() for g in gradients if g is not None)]


@pytest.mark.parametrize("name", ENCODERS)
class TestContract:
    def test_output_has_the_promised_width(self, name: str) -> None:
        encoder = build(name)
        assert pooled(encoder, *batch()).shape == (len(LENGTHS), encoder.output_dim)

    def test_shared_rows_equivalence(self, name: str) -> None:
        """Samples that share a run get the outputs and gradients of samples that do not."""
        encoder = build(name)
        run_length, start = torch.tensor([6, 3]), torch.tensor([0, 0, 6, 5, 0, 0])
        length = torch.tensor([4, 6, 3, 0, 6, 1])
        events = torch.randn(9, DIM, generator=torch.Generator().manual_seed(2))
        query = torch.randn(6, DIM, generator=torch.Generator().manual_seed(3))
        shared = Spans(start, length, run_length, is_shared=True)
        rows = torch.cat([torch.arange(s, s + n) for s, n in zip(start, length, strict=True)])
        found = run_rows(encoder, events, torch.arange(9), shared, query)
        expected = run_rows(encoder, events, rows, Spans.of_lengths(length), query)
        for left, right in zip(found, expected, strict=True):
            torch.testing.assert_close(left, right)

    def test_every_valid_event_counts(self, name: str) -> None:
        _, by_token, _, _ = run(build(name), *batch())
        _, mask, _ = batch()
        assert torch.all(by_token[mask].abs().sum(dim=-1) > 0)

    def test_empty_history_is_zero_with_finite_gradients(self, name: str) -> None:
        encoder = build(name)
        tokens, mask, query = batch()
        output, by_token, by_query, gradients = run(encoder, tokens, mask, query)
        assert torch.all(output[1] == 0)
        assert all(torch.isfinite(g).all() for g in (by_token, by_query, *gradients))
        alone, _, _, gradients = run(encoder, tokens[1:2], mask[1:2], query[1:2])
        assert torch.all(alone == 0)
        assert all(torch.isfinite(g).all() for g in gradients)

    def test_samples_do_not_see_each_other(self, name: str) -> None:
        encoder = build(name)
        tokens, mask, query = batch()
        alone = [
            pooled(encoder, tokens[i : i + 1], mask[i : i + 1], query[i : i + 1]) for i in range(4)
        ]
        torch.testing.assert_close(pooled(encoder, tokens, mask, query), torch.cat(alone))

    def test_query_matters_exactly_if_the_encoder_uses_it(self, name: str) -> None:
        encoder = build(name)
        tokens, mask, query = batch()
        moved = pooled(encoder, tokens, mask, query + 1) != pooled(encoder, tokens, mask, query)
        # The third sample has one event, which gets all the weight of a softmax in any case.
        assert moved.any(1).tolist() == [
            encoder.uses_query,
            False,
            name == "din",
            encoder.uses_query,
        ]

    def test_every_parameter_gets_a_gradient(self, name: str) -> None:
        encoder = build(name)
        run(encoder, *batch())
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())


def test_sum_and_mean_of_a_known_history() -> None:
    tokens = torch.tensor([[[9.0, 9.0], [1.0, 2.0], [3.0, -4.0]]])
    mask = torch.tensor([[False, True, True]])
    assert pooled(SumPooling(2), tokens, mask, mask).tolist() == [[4.0, -2.0]]
    assert pooled(MeanPooling(2), tokens, mask, mask).tolist() == [[2.0, -1.0]]


def test_places_and_recency_of_known_windows() -> None:
    spans = Spans.of_lengths(torch.tensor([2, 0, 3]))
    assert spans.sample.tolist() == [0, 0, 2, 2, 2]
    assert spans.place.tolist() == [0, 1, 0, 1, 2]
    assert spans.recency.tolist() == [1, 0, 2, 1, 0]
    shared = Spans(torch.tensor([0, 0]), torch.tensor([1, 3]), torch.tensor([3]), is_shared=True)
    assert shared.pairs(torch.tensor([7, 8, 9])).tolist() == [7, 7, 8, 9]


def test_softmax_within_windows_of_known_scores() -> None:
    spans = Spans.of_lengths(torch.tensor([2, 0, 1]))
    scores = torch.tensor([[0.0, 1.0], [math.log(3.0), 1.0], [50.0, -50.0]])
    expected = torch.tensor([[0.25, 0.5], [0.75, 0.5], [1.0, 1.0]])
    torch.testing.assert_close(spans.softmax(scores), expected)


@pytest.mark.parametrize("causal", [True, False])
def test_attention_in_length_groups_equals_attention_per_window(causal: bool) -> None:
    """Lengths on both sides of every group's border."""
    generator = torch.Generator().manual_seed(4)
    lengths = torch.tensor([1, 4, 5, 6, 0, 7, 9, 12, 13, 17, 25, 33, 2])
    q, k, v = torch.randn(3, int(lengths.sum()), HEADS, 3, generator=generator)
    qkv = torch.stack([q, k, v], dim=1)
    found = attend_within(qkv, Spans.of_lengths(lengths), causal=causal, dropout=0.0)
    parts = [part.split(lengths.tolist()) for part in (q, k, v)]
    for one_q, one_k, one_v, one in zip(*parts, found.split(lengths.tolist()), strict=True):
        scores = torch.einsum("ihd,jhd->hij", one_q, one_k) / math.sqrt(3)
        if causal:
            scores = scores.masked_fill(torch.ones_like(scores[0]).triu(1).bool(), -torch.inf)
        torch.testing.assert_close(one, torch.einsum("hij,jhd->ihd", scores.softmax(-1), one_v))


def test_masked_softmax_of_known_scores() -> None:
    scores = torch.tensor([[0.0, math.log(3.0), 50.0], [1.0, 2.0, 3.0]])
    mask = torch.tensor([[True, True, False], [False, False, False]])
    expected = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(masked_softmax(scores, mask), expected)


def test_din_equals_the_concatenated_form() -> None:
    encoder = DINAttention(DIM, hidden=6).eval()
    tokens, mask, query = batch()
    expected = torch.zeros(len(LENGTHS), DIM)
    for b, j in mask.nonzero().tolist():
        q, s = query[b], tokens[b, j]
        expected[b] += encoder.score(torch.cat([q, s, q - s, q * s])) * s
    torch.testing.assert_close(pooled(encoder, tokens, mask, query), expected)


def test_dmin_equals_loops_over_samples_heads_and_events() -> None:
    encoder = build("dmin")
    assert isinstance(encoder, DMIN)
    tokens, mask, query = batch()
    expected = torch.zeros(len(LENGTHS), HEADS, DIM)
    for b, length in enumerate(LENGTHS):
        events = tokens[b, mask[b]]  # oldest first
        for h in range(HEADS):
            if length:
                expected[b, h] = naive_interest(encoder, events, query[b], h)
    torch.testing.assert_close(pooled(encoder, tokens, mask, query), expected.flatten(1))


def naive_interest(encoder: DMIN, events: Tensor, query: Tensor, h: int) -> Tensor:
    """One head of one sample: an event sees itself and older events only."""

    def linear(layer: nn.Module, x: Tensor) -> Tensor:
        bias = 0 if layer.bias is None else layer.bias[h, 0]
        return x @ layer.weight[h] + bias

    def norm(layer: nn.Module, x: Tensor) -> Tensor:
        x = (x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt()
        return x * layer.scale[h, 0] + layer.shift[h, 0]

    width = DIM // HEADS
    part = slice(h * width, (h + 1) * width)
    q, k, v = (x[:, part] for x in encoder.qkv(events).chunk(3, dim=-1))
    scores, seen = [], []
    for j, event in enumerate(events):
        weight = (q[j] @ k[: j + 1].T / math.sqrt(width)).softmax(0)
        x = norm(encoder.norm_attention, event + linear(encoder.project, weight @ v[: j + 1]))
        wide = linear(encoder.widen, x).relu()
        x = norm(encoder.norm_feed_forward, x + linear(encoder.narrow, wide))
        place = encoder.position.weight[len(events) - 1 - j]
        question = encoder.query(torch.cat([query, place])).view(HEADS, DIM)[h]
        joined = torch.cat([question, x, question * x])
        scores.append(linear(encoder.score_outer, linear(encoder.score_inner, joined).relu()))
        seen.append(x)
    return torch.cat(scores).softmax(0) @ torch.stack(seen)


def test_self_attention_block_equals_torchs_encoder_layer() -> None:
    torch.manual_seed(0)
    block = SelfAttentionBlock(DIM, HEADS, dropout=0.0).eval()
    layer = nn.TransformerEncoderLayer(
        DIM, HEADS, 4 * DIM, 0.0, activation="gelu", norm_first=True, batch_first=True
    )
    layer.load_state_dict(
        {
            "self_attn.in_proj_weight": block.qkv.weight,
            "self_attn.in_proj_bias": block.qkv.bias,
            "self_attn.out_proj.weight": block.output.weight,
            "self_attn.out_proj.bias": block.output.bias,
            "linear1.weight": block.widen.weight,
            "linear1.bias": block.widen.bias,
            "linear2.weight": block.narrow.weight,
            "linear2.bias": block.narrow.bias,
            "norm1.weight": block.norm_attention.weight,
            "norm1.bias": block.norm_attention.bias,
            "norm2.weight": block.norm_feed_forward.weight,
            "norm2.bias": block.norm_feed_forward.bias,
        }
    )
    tokens, mask, _ = batch()
    tokens, mask = tokens[[0, 2, 3]], mask[[0, 2, 3]]  # torch's layer knows no empty history
    expected = layer(tokens, src_key_padding_mask=~mask)
    torch.testing.assert_close(block(tokens[mask], windows(mask)), expected[mask])


def test_readout_weighs_events_by_the_query() -> None:
    torch.manual_seed(0)
    encoder = SelfAttention(DIM, heads=HEADS, layers=0, max_len=7).eval()
    tokens, mask, query = batch()
    readout, width = encoder.readout, DIM // HEADS
    for b in (0, 3):
        events = tokens[b, mask[b]]
        events = encoder.norm(events + encoder.position.weight[: len(events)].flip(0))
        key, value = readout.key_value(events).chunk(2, dim=-1)
        question = readout.query(query[b])
        heads = []
        for h in range(HEADS):
            part = slice(h * width, (h + 1) * width)
            weight = (key[:, part] @ question[part] / math.sqrt(width)).softmax(0)
            heads.append(weight @ value[:, part])
        expected = readout.output(torch.cat(heads))
        torch.testing.assert_close(pooled(encoder, tokens, mask, query)[b], expected)


@pytest.mark.parametrize("name", ["dmin", "self_attention"])
def test_order_of_events_matters(name: str) -> None:
    encoder = build(name)
    tokens, mask, query = batch()
    swapped = tokens.clone()
    swapped[0, [-1, -2]] = tokens[0, [-2, -1]]
    before = pooled(encoder, tokens, mask, query)
    difference = (pooled(encoder, swapped, mask, query) - before).abs().amax(1)
    assert difference[0] > 1e-3
    assert torch.all(difference[1:] == 0)


@pytest.mark.parametrize("name", ["dmin", "self_attention"])
def test_dropout_acts_in_training_only(name: str) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(EncoderSpec(name, DIM, options={"heads": HEADS, "dropout": 0.5}))
    inputs = batch()
    assert not torch.equal(pooled(encoder, *inputs), pooled(encoder, *inputs))
    encoder.eval()
    assert torch.equal(pooled(encoder, *inputs), pooled(encoder, *inputs))


@pytest.mark.parametrize("name", ["dmin", "self_attention"])
def test_heads_must_divide_the_width(name: str) -> None:
    with pytest.raises(ConfigError, match=r"num_heads: .*divisor of .*10, found 4"):
        build_encoder(EncoderSpec(name, 10, options={"heads": 4}))


@pytest.mark.parametrize("name", ["dmin", "self_attention"])
def test_batch_longer_than_the_position_table_is_refused(name: str) -> None:
    encoder = build_encoder(EncoderSpec(name, DIM, 6, {"heads": HEADS}))
    with pytest.raises(ConfigError, match=r"max_len: .*at most 6 events, found .*7"):
        pooled(encoder, *batch())


def test_unknown_encoder_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="mean, sum, din, dmin, self_attention, found 'gru'"):
        build_encoder(EncoderSpec("gru", DIM))
