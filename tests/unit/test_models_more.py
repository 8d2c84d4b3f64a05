"""FM, FmFM, DIEN and DMR: oracles by loops, masks that hold, fields that flow, refusals."""

from __future__ import annotations

import math
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

pytest.importorskip("fuxictr")
from fuxictr.features import FeatureMap
from fuxictr.pytorch.models import BaseModel

from fuxictr_loopfm.config.zoo import load_model_class
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.extraction.model_parts import hidden_paths
from fuxictr_loopfm.host import history_fields
from fuxictr_loopfm.layers.batch import PaddedHistory
from fuxictr_loopfm.layers.groups import SequenceGroup

ZOO = Path(__file__).parents[2] / "model_zoo"
DIM, MAX_LEN, ITEMS = 4, 6, 9
HOST_PARAMS: dict[str, Any] = {
    "embedding_dim": DIM, "optimizer": "adam", "loss": "binary_crossentropy", "metrics": ["AUC"],
    "verbose": 0, "model_root": "./",
}  # fmt: skip
MODELS = {name: load_model_class(name, [ZOO])[0] for name in ("FM", "FmFM", "DIEN", "DMR")}


def part(model: str, module: str) -> ModuleType:
    """A module of a model's source package, as the model itself imported it."""
    return sys.modules[f"{MODELS[model].__module__.rsplit('.', 1)[0]}.{module}"]


evolution, relevance = part("DIEN", "evolution"), part("DMR", "relevance")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def categorical(**more: Any) -> dict[str, Any]:
    return {"type": "categorical", "padding_idx": 0, "vocab_size": ITEMS, **more}


def sequence(of: str, **more: Any) -> dict[str, Any]:
    return {**categorical(share_embedding=of), "type": "sequence", "max_len": MAX_LEN, **more}


PLAIN = {
    "user": categorical(),
    "item": categorical(),
    "cate": categorical(),
    "price": {"type": "numeric"},
}
FEATURES = PLAIN | {"item_his": sequence("item"), "cate_his": sequence("cate")}
NEGATIVES = {"item_neg": sequence("item"), "cate_neg": sequence("cate")}
HISTORIES = ([3, 5, 3], [], [7], [1, 2, 3, 4, 5, 6])
PAIR, SEQUENCES = ("item", "cate"), ("item_his", "cate_his")
SMALL = {"dnn_hidden_units": [8], "attention_hidden_units": [6], "batch_norm": False}
SEQUENTIAL: dict[str, dict[str, Any]] = {
    "DIEN": {"dien_target_field": PAIR, "dien_sequence_field": SEQUENCES,
             "attention_type": "din_attention"} | SMALL,
    "DMR": {"target_field": PAIR, "sequence_field": SEQUENCES, "pos_emb_dim": 3} | SMALL,
}  # fmt: skip
VARIANTS = [
    ("DIEN", {}),
    ("DIEN", {"gru_type": "AGRU", "attention_type": "bilinear_attention"}),
    ("DIEN", {"gru_type": "AIGRU", "use_attention_softmax": False, "enable_sum_pooling": True}),
    ("DIEN", {"gru_type": "GRU", "attention_type": "dot_attention"}),
    ("DMR", {}),
    ("DMR", {"enable_i2i_rel": True, "enable_sum_pooling": True, "use_pos_emb": False}),
    ("DMR", {"enable_u2i_rel": False, "attention_activation": "Dice"}),
    ("DMR", {"context_field": "cate_his"}),
]


def feature_map(features: Mapping[str, Mapping[str, Any]]) -> FeatureMap:
    result = FeatureMap("tiny", "./")
    result.features = OrderedDict({k: {"source": "", **v} for k, v in features.items()})
    result.labels = ["clk"]
    result.default_emb_dim = DIM
    result.num_fields = result.get_num_fields()
    return result


def build(
    model: str, features: Mapping[str, Mapping[str, Any]], fields: Any = (), **settings: Any
) -> Any:
    params = {**HOST_PARAMS, **settings}
    shapes = feature_map(features)
    torch.manual_seed(0)
    if not fields:
        return MODELS[model](shapes, **params)
    history_fields.prepare_feature_map(shapes, fields, with_teacher_logit=False)
    return history_fields.build_model(MODELS[model], shapes, params, fields)[0]


def enlarge(model: BaseModel) -> BaseModel:
    """Embeddings and positions large enough to matter; nothing is dropped or normalised."""
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight[1:] if module.padding_idx == 0 else module.weight)
    return model.eval()


def sequential(model: str, **changes: Any) -> Any:
    return enlarge(build(model, FEATURES, **SEQUENTIAL[model] | changes))


def batch(length: int = MAX_LEN, side: str = "post") -> dict[str, Tensor]:
    """One sample per history; category ids are the items', moved by one."""
    rows = []
    for history in HISTORIES:
        zeros = [0] * (length - len(history))
        rows.append(history + zeros if side == "post" else zeros + history)
    items = torch.tensor(rows)
    return {
        "user": torch.tensor([1, 2, 3, 4]),
        "item": torch.tensor([3, 4, 5, 6]),
        "cate": torch.tensor([2, 3, 4, 5]),
        "price": torch.tensor([0.5, 1.0, -1.0, 2.0]),
        "item_his": items,
        "cate_his": (items + 1) % ITEMS * (items > 0),
        "clk": torch.tensor([1.0, 0.0, 0.0, 1.0]),
    }


def plain_batch() -> dict[str, Tensor]:
    return {name: value for name, value in batch().items() if not name.endswith("his")}


def predict(model: Any, inputs: Mapping[str, Any]) -> Tensor:
    result: Tensor = model(inputs)["y_pred"].detach()
    return result


def group(width: int) -> SequenceGroup:
    return SequenceGroup(("t",), ("s",), (), width, MAX_LEN)


# What holds for every sequence model.


@pytest.mark.parametrize(("model", "changes"), VARIANTS)
def test_padding_changes_nothing(model: str, changes: dict[str, Any]) -> None:
    built = sequential(model, **changes)
    expected = predict(built, batch())
    assert expected.shape == (4, 1)
    torch.testing.assert_close(predict(built, batch(side="pre")), expected)
    first = {k: v[:1] for k, v in batch().items()}
    shorter = first | {k: first[k][:, :3] for k in SEQUENCES}
    torch.testing.assert_close(predict(built, shorter), expected[:1])
    gaps = first | {k: first[k][:, [4, 0, 5, 1, 2, 3]] for k in SEQUENCES}
    torch.testing.assert_close(predict(built, gaps), expected[:1])
    for layer in built.embedding_layer.embedding_layers.values():
        if isinstance(layer, nn.Embedding):
            layer.weight.data[0] = 100.0
    torch.testing.assert_close(predict(built, batch(side="pre")), expected)


@pytest.mark.parametrize(("model", "changes"), VARIANTS)
def test_history_its_order_and_target_matter(model: str, changes: dict[str, Any]) -> None:
    built = sequential(model, **changes)
    expected = predict(built, batch())
    for name in ("item_his", "cate_his", "item", "cate", "user", "price"):
        moved = batch()
        moved[name] = torch.where(moved[name] != 0, moved[name] % 3 + 1, 0)
        assert not torch.allclose(predict(built, moved), expected, atol=1e-5), name
    turned = batch() | {name: batch()[name].flip(1) for name in SEQUENCES}
    assert not torch.allclose(predict(built, turned)[3], expected[3], atol=1e-6)


@pytest.mark.parametrize(("model", "changes"), VARIANTS)
def test_training_on_empty_histories_stays_finite(model: str, changes: dict[str, Any]) -> None:
    built = sequential(model, **changes).train()
    inputs = batch()
    for name in SEQUENCES:
        inputs[name] = torch.zeros_like(inputs[name])
    result = built(inputs)
    built.compute_loss(result, built.get_labels(inputs)).backward()
    assert torch.isfinite(result["y_pred"]).all()
    assert all(torch.isfinite(p.grad).all() for p in built.parameters() if p.grad is not None)


@pytest.mark.parametrize(("model", "changes"), VARIANTS)
def test_an_empty_history_adds_zeros_to_the_trunk(model: str, changes: dict[str, Any]) -> None:
    built = sequential(model, **changes)
    seen: list[Tensor] = []
    built.dnn.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    predict(built, batch())
    kept = DIM * len(PLAIN)
    assert torch.all(seen[0][1, kept:] == 0.0)
    assert torch.all((seen[0][[0, 2, 3], kept:] != 0.0).any(dim=1))


@pytest.mark.parametrize("model", ["DIEN", "DMR"])
@pytest.mark.parametrize("fields", [None, []])
def test_models_work_without_sequences(model: str, fields: list[str] | None) -> None:
    keys = [key for key in SEQUENTIAL[model] if key.endswith("_field")]
    built = build(model, PLAIN, **SEQUENTIAL[model] | dict.fromkeys(keys, fields))
    inputs = plain_batch()
    result = built(inputs)
    built.compute_loss(result, built.get_labels(inputs)).backward()
    assert result["y_pred"].shape == (4, 1)
    assert all(p.grad is not None for p in built.parameters())


@pytest.mark.parametrize("model", ["DIEN", "DMR"])
def test_extra_field_flows_into_the_trunk(model: str) -> None:
    extra = {"type": "embedding", "pretrain_dim": 3}
    plain = build(model, FEATURES, **SEQUENTIAL[model])
    built = build(model, {**FEATURES, "loop": extra}, **SEQUENTIAL[model]).eval()
    assert built.dnn.mlp[0].in_features == plain.dnn.mlp[0].in_features + DIM
    inputs = batch() | {"loop": torch.randn(4, 3)}
    moved = inputs | {"loop": inputs["loop"] + 1}
    assert torch.all(predict(built, inputs) != predict(built, moved))


def history_field() -> history_fields.HistoryField:
    return history_fields.HistoryField(
        name="loopfm_history", columns=("embedding",), embedding_dim=3, id_columns=(),
        query_columns=("item",), encoder="din", dim=8, num_heads=2, num_layers=1, dropout=0.0,
        max_len=4,
    )  # fmt: skip


@pytest.mark.parametrize("model", ["FM", "FmFM", "DIEN", "DMR"])
def test_a_history_of_the_host_is_learned_from(model: str) -> None:
    features = FEATURES if model in SEQUENTIAL else PLAIN
    built = build(model, features, [history_field()], **SEQUENTIAL.get(model, {}))
    enlarge(built)
    for module in built.modules():
        if isinstance(module, history_fields.HistoryProjection):
            nn.init.normal_(module.projection.weight)
    mask = torch.tensor([[False] * 4, [True] * 4, [False, False, True, True], [False] * 4])
    values = torch.randn(4, 4, 3) * mask.unsqueeze(-1)
    inputs: dict[str, Any] = batch() if model in SEQUENTIAL else plain_batch()
    inputs["loopfm_history"] = PaddedHistory(
        mask=mask, embedding=values, label=None, log_age=None, ids={}
    )
    moved = inputs | {
        "loopfm_history": PaddedHistory(
            mask=mask, embedding=-values, label=None, log_age=None, ids={}
        )
    }
    changed = (predict(built, inputs) != predict(built, moved)).squeeze(1)
    assert changed.tolist() == [False, True, True, False]
    built.compute_loss(built(inputs), built.get_labels(inputs)).backward()
    projections = [m for m in built.modules() if isinstance(m, history_fields.HistoryProjection)]
    # Stacked fields and first-order weights are two embedding layers, each with a field.
    assert len(projections) == (1 if model in SEQUENTIAL else 2)
    assert all(m.projection.weight.grad.abs().max() > 0 for m in projections)


@pytest.mark.parametrize("model", ["FM", "FmFM", "DIEN", "DMR"])
def test_order_of_the_batch_does_not_matter(model: str) -> None:
    """Train and test loaders may deliver their columns in different orders."""
    built = sequential(model) if model in SEQUENTIAL else enlarge(build(model, PLAIN))
    inputs = batch() if model in SEQUENTIAL else plain_batch()
    backward = dict(reversed(inputs.items()))
    torch.testing.assert_close(predict(built, backward), predict(built, inputs))


@pytest.mark.parametrize("model", ["DIEN", "DMR"])
def test_taps_find_the_trunk(model: str) -> None:
    """A score network wider than the trunk must not pass for it."""
    changes = {"attention_hidden_units": [64, 32], "dnn_hidden_units": [8, 6]}
    assert hidden_paths(sequential(model, **changes)) == ["dnn.mlp.1", "dnn.mlp.3"]


@pytest.mark.parametrize(("model", "changes"), [VARIANTS[0], VARIANTS[1], VARIANTS[4]])
def test_model_learns_that_the_target_was_seen_before(model: str, changes: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    items = torch.randint(1, ITEMS, (256, MAX_LEN), generator=generator)
    items[torch.rand(256, MAX_LEN, generator=generator) < 0.4] = 0
    target = torch.randint(1, ITEMS, (256,), generator=generator)
    seen = (items == target.unsqueeze(1)).any(dim=1)
    inputs = {
        "user": torch.ones(256, dtype=torch.int64), "item": target, "cate": target,
        "price": torch.zeros(256), "item_his": items, "cate_his": items, "clk": seen.float(),
    }  # fmt: skip
    wider = {"attention_hidden_units": [32], "dnn_hidden_units": [32]}
    built = sequential(model, learning_rate=1e-2, **wider, **changes).train()
    built._max_gradient_norm = 10.0
    losses = [built.train_step(inputs).item() for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]


# FM and FmFM.


def loop_over_pairs(built: Any, lr_layer: Any, product: Any) -> Tensor:
    """Prediction of a factorization machine, pair by pair; ``product(i, j, v_i, v_j)``."""
    inputs = plain_batch()
    tables = built.embedding_layer.embedding_layer.embedding_layers
    scalars = lr_layer.embedding_layer.embedding_layer.embedding_layers
    expected = []
    for row in range(4):
        value = {k: v[row : row + 1] if k == "price" else v[row] for k, v in inputs.items()}
        fields = [tables[name](value[name]) for name in PLAIN]
        logit = lr_layer.bias + sum(scalars[name](value[name]) for name in PLAIN)
        for i in range(len(fields)):
            for j in range(i + 1, len(fields)):
                logit = logit + product(i, j, fields[i], fields[j])
        expected.append(torch.sigmoid(logit))
    return torch.stack(expected).detach()


def scattered(model: str, **settings: Any) -> Any:
    built = build(model, PLAIN, **settings).eval()
    for parameter in built.parameters():
        nn.init.normal_(parameter, std=0.5)
    return built


def test_fm_adds_first_order_and_pairs() -> None:
    built = scattered("FM")
    expected = loop_over_pairs(built, built.fm.lr_layer, lambda i, j, a, b: a @ b)
    torch.testing.assert_close(predict(built, plain_batch()), expected)


@pytest.mark.parametrize("interaction", ["matrixed", "vectorized"])
def test_fmfm_weighs_each_pair_of_fields_by_itself(interaction: str) -> None:
    built = scattered("FmFM", field_interaction_type=interaction)
    weight = iter(built.pairs.weight.repeat(4, *[1] * (built.pairs.weight.dim() - 1)))

    def product(_i: int, _j: int, left: Tensor, right: Tensor) -> Tensor:
        of_pair = next(weight)
        return left @ (of_pair if interaction == "matrixed" else torch.diag(of_pair)) @ right

    expected = loop_over_pairs(built, built.lr_layer, product)
    torch.testing.assert_close(predict(built, plain_batch()), expected)
    assert next(weight, None) is None


@pytest.mark.parametrize("model", ["FM", "FmFM"])
def test_one_regularizer_covers_every_weight(model: str) -> None:
    built = scattered(model, regularizer=0.1)
    inputs = plain_batch()
    labels = built.get_labels(inputs)
    result = built(inputs)
    added = built.compute_loss(result, labels) - built.add_loss(result, labels)
    total = sum(p.square().sum() for p in built.parameters())
    torch.testing.assert_close(added, 0.05 * total)


def test_fmfm_counts_the_fields_that_are_left() -> None:
    """FuxiCTR counts ``num_fields`` before it applies ``use_features``."""
    shapes = feature_map(PLAIN)
    shapes.num_fields = 17
    built = MODELS["FmFM"](shapes, **HOST_PARAMS)
    assert built.pairs.weight.shape == (6, DIM, DIM)
    assert predict(built, plain_batch()).shape == (4, 1)


def test_unknown_interaction_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"field_interaction_type: .*'matrixed'.*found 'matrix'"):
        build("FmFM", PLAIN, field_interaction_type="matrix")


# DIEN.


def settings_of_evolution(**changes: Any) -> Any:
    values: dict[str, Any] = {
        "gru_type": "AUGRU", "attention_type": "din_attention", "attention_hidden_units": (6,),
        "attention_activation": "ReLU", "attention_dropout": 0.0, "use_attention_softmax": True,
        "sum_pooling": False,
    }  # fmt: skip
    return evolution.EvolutionSettings(**values | changes)


def evolved(**changes: Any) -> tuple[Any, Tensor, Tensor, tuple[int, ...]]:
    """A module with large weights, sequences (3, L, 4), targets, and their lengths."""
    torch.manual_seed(0)
    module = evolution.InterestEvolution(group(4), settings_of_evolution(**changes)).eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.7)
    return module, torch.randn(3, MAX_LEN, 4), torch.randn(3, 4), (3, 1, 6)


def gru_step(layer: nn.GRU, x: Tensor, h: Tensor) -> Tensor:
    """One step of a GRU from the documented formula."""
    of_x = (layer.weight_ih_l0 @ x + layer.bias_ih_l0).chunk(3)
    of_h = (layer.weight_hh_l0 @ h + layer.bias_hh_l0).chunk(3)
    reset, keep = torch.sigmoid(of_x[0] + of_h[0]), torch.sigmoid(of_x[1] + of_h[1])
    return (1 - keep) * torch.tanh(of_x[2] + reset * of_h[2]) + keep * h


def attentional_step(layer: Any, x: Tensor, h: Tensor, attention: Tensor) -> Tensor:
    of_x, of_h = layer.of_input(x).split(4), layer.of_state(h).split(4)
    candidate = torch.tanh(of_x[1] + torch.sigmoid(of_x[0] + of_h[0]) * of_h[1])
    update = attention * torch.sigmoid(of_x[2] + of_h[2]) if len(of_x) == 3 else attention
    return (1 - update) * h + update * candidate


@pytest.mark.parametrize("gru_type", ["GRU", "AIGRU", "AGRU", "AUGRU"])
@pytest.mark.parametrize("attention_type", ["din_attention", "bilinear_attention", "dot_attention"])
@pytest.mark.parametrize("use_softmax", [True, False])
def test_evolution_equals_loops_over_behaviours(
    gru_type: str, attention_type: str, use_softmax: bool
) -> None:
    module, sequences, targets, lengths = evolved(
        gru_type=gru_type, attention_type=attention_type, use_attention_softmax=use_softmax
    )
    mask = torch.arange(MAX_LEN) < torch.tensor(lengths).unsqueeze(1)
    found = module(sequences, targets, mask).pooled
    for row, length in enumerate(lengths):
        states, h = [], torch.zeros(4)
        for x in sequences[row, :length]:
            h = gru_step(module.extraction, x, h)
            states.append(h)
        q, scores = targets[row], []
        for s in states:
            if attention_type == "din_attention" and gru_type != "GRU":
                scores.append(module.attention.score(torch.cat([q, s, q - s, q * s])).squeeze())
            elif attention_type == "bilinear_attention" and gru_type != "GRU":
                scores.append(s @ module.attention.kernel @ q)
            else:
                scores.append(s @ q)
        weights = torch.stack(scores).softmax(0) if use_softmax else torch.stack(scores)
        h = torch.zeros(4)
        for s, a in zip(states, weights, strict=True):
            if gru_type in ("AGRU", "AUGRU"):
                h = attentional_step(module.evolution, s, h, a)
            else:
                h = gru_step(module.evolution, s * a if gru_type == "AIGRU" else s, h)
        torch.testing.assert_close(found[row], h)


def test_full_attention_makes_augru_a_gru() -> None:
    module, sequences, _, _ = evolved()
    own = module.evolution
    layer = nn.GRU(4, 4, batch_first=True)
    with torch.no_grad():
        for of, name in ((own.of_input, "ih"), (own.of_state, "hh")):
            for kind in ("weight", "bias"):
                reset, candidate, update = getattr(of, kind).split(4)
                # torch's gate is the share that is kept, ours the share that is replaced.
                theirs = torch.cat([reset, -update, candidate])
                getattr(layer, f"{kind}_{name}_l0").copy_(theirs)
    expected = layer(sequences)[1][0]
    torch.testing.assert_close(own(sequences, torch.ones(3, MAX_LEN)), expected)
    assert torch.all(own(sequences, torch.zeros(3, MAX_LEN)) == 0.0)


def test_later_behaviours_leave_earlier_interests_alone() -> None:
    module, sequences, targets, _ = evolved()
    mask = torch.ones(3, MAX_LEN, dtype=torch.bool)
    moved = sequences.clone()
    moved[:, 4:] += 5.0
    before, after = (module(s, targets, mask).interests for s in (sequences, moved))
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.equal(before[:, 4:], after[:, 4:])


def test_sum_pooling_joins_the_sum_and_its_product_with_the_target() -> None:
    module, sequences, targets, _ = evolved(sum_pooling=True)
    mask = torch.arange(MAX_LEN) < torch.tensor([[3], [0], [6]])
    found = module(sequences, targets, mask).pooled
    total = torch.stack([sequences[0, :3].sum(0), torch.zeros(4), sequences[2].sum(0)])
    torch.testing.assert_close(found[:, 4:], torch.cat([total, targets * total], dim=1))
    assert module.output_dim == found.shape[1] == 12


def test_diens_auxiliary_loss_of_known_pairs() -> None:
    """The logit is (interest + following) / 2 for width 1; padding is 99 and must not enter."""
    network = nn.Linear(2, 1, bias=False)
    nn.init.constant_(network.weight, 0.5)
    mask = torch.tensor([[False, True, True], [True, False, True], [False, False, True]])
    order = torch.tensor([[1, 2, 0], [0, 2, 1], [2, 0, 1]])
    interests = torch.tensor([[1.0, 7.0, 0.0], [3.0, 7.0, 0.0], [5.0, 0.0, 0.0]])
    actual = torch.tensor([[99.0, 9.0, 3.0], [9.0, 99.0, -1.0], [99.0, 99.0, 9.0]])
    sampled = torch.tensor([[99.0, 9.0, -4.0], [9.0, 99.0, 99.0], [99.0, 99.0, 9.0]])
    known = torch.tensor([[False, True, True], [True, True, False], [False, False, True]])
    found = evolution.Evolution(interests, interests.unsqueeze(-1), order, mask.gather(1, order))
    loss = evolution.next_behavior_loss(
        network, found, actual.unsqueeze(-1), sampled.unsqueeze(-1), known
    )
    # Logits 2 and 1 with truth 1, logit -1.5 with truth 0; the second row's negative is missing.
    terms = [math.log1p(math.exp(-x)) for x in (2.0, 1.0, 1.5)]
    assert loss.item() == pytest.approx(sum(terms) / 3, rel=1e-6)
    nothing = evolution.Evolution(*(value[2:] for value in found))
    empty = evolution.next_behavior_loss(
        network, nothing, actual[2:].unsqueeze(-1), sampled[2:].unsqueeze(-1), known[2:]
    )
    assert empty.item() == 0.0


def test_unknown_recurrence_and_attention_are_refused_together() -> None:
    with pytest.raises(ConfigError) as caught:
        sequential("DIEN", gru_type="LSTM", attention_type="din")
    text = str(caught.value)
    assert "gru_type" in text and "'AUGRU'" in text and "'LSTM'" in text
    assert "attention_type" in text and "'din_attention'" in text


# DMR.


def settings_of_relevance() -> Any:
    return relevance.RelevanceSettings((6,), "ReLU", 0.0, 3)


def related(kind: str, context_width: int) -> Any:
    torch.manual_seed(0)
    arguments = (True,) if kind == "ItemToItem" else ()
    module = getattr(relevance, kind)(
        group(4), settings_of_relevance(), context_width, *arguments
    ).eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.7)
    return module


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
    mask = torch.arange(MAX_LEN) < torch.tensor(lengths).unsqueeze(1)
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
    gaps = torch.tensor([[True, False, True], [True, False, False]])
    assert relevance.newest(gaps).tolist() == [[False, False, True], [True, False, False]]


def test_dmrs_auxiliary_loss_of_known_samples() -> None:
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
    settings = SEQUENTIAL["DMR"] | {"neg_seq_field": ("item_neg", "cate_neg"), "aux_loss_beta": 0.3}
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
        for names, sign in ((SEQUENCES, -1.0), (("item_neg", "cate_neg"), 1.0)):
            ids = [inputs[name][row, len(history) - 1] for name in names]
            item = torch.cat([tables["item"](ids[0]), tables["cate"](ids[1])])
            terms.append(F.softplus(sign * users[0][row] @ item))
    found = built.train()(inputs)["aux_loss"]
    torch.testing.assert_close(found, torch.stack(terms).mean())


def with_negatives() -> dict[str, Tensor]:
    inputs = batch()
    for name in ("item", "cate"):
        history = inputs[f"{name}_his"]
        inputs[f"{name}_neg"] = (history + 3) % 8 * (history > 0) + (history > 0)
    return inputs


# Auxiliary losses in a model.


@pytest.mark.parametrize(
    ("model", "weight", "negatives"),
    [
        ("DIEN", "aux_loss_alpha", "dien_neg_seq_field"),
        ("DMR", "aux_loss_beta", "neg_seq_field"),
    ],
)
def test_auxiliary_loss_is_added_with_its_weight_while_training(
    model: str, weight: str, negatives: str
) -> None:
    settings = SEQUENTIAL[model] | {negatives: ("item_neg", "cate_neg"), weight: 0.3}
    settings["attention_activation"] = "ReLU"  # Dice behaves differently while training
    built = build(model, FEATURES | NEGATIVES, **settings)
    plain = build(model, FEATURES, **SEQUENTIAL[model])
    assert built.dnn.mlp[0].in_features == plain.dnn.mlp[0].in_features
    inputs = with_negatives()
    labels = built.get_labels(inputs)
    trained = built.train()(inputs)
    served = built.eval()(inputs)
    torch.testing.assert_close(trained["y_pred"], served["y_pred"])
    assert trained["aux_loss"] > 0 and "aux_loss" not in served
    added = built.add_loss(trained, labels) - built.add_loss(served, labels)
    torch.testing.assert_close(added, 0.3 * trained["aux_loss"])
    added.backward()
    learned = built.aux_net if model == "DIEN" else built.output_tables
    assert all(p.grad is not None for p in learned.parameters())
    # The first three histories are short, so that rolling them moves padding only.
    short = {k: v[:3] for k, v in inputs.items()}
    moved = {k: v.roll(1, dims=1) if v.dim() == 2 else v for k, v in short.items()}
    losses = [built.train()(rows)["aux_loss"] for rows in (short, moved)]
    torch.testing.assert_close(losses[0], losses[1])


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        ("DIEN", {"aux_loss_alpha": 0.1}, r"aux_loss_alpha: .*'item_his'.*dien_neg_seq_field"),
        ("DMR", {"aux_loss_beta": 0.1}, r"aux_loss_beta: .*\('item', 'cate'\), found \(\)"),
        ("DMR", {"aux_loss_beta": 0.1, "enable_u2i_rel": False}, "needs enable_u2i_rel: True"),
        ("DIEN", {"dien_target_field": ("itme", "cate")}, "field 'itme': no such feature"),
        ("DMR", {"target_field": ("itme", "cate")}, "field 'itme': no such feature"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    model: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        sequential(model, **changes)
