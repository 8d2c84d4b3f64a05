"""The zoo's models: parameter counts of BARS, masks that hold, fields that flow."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("fuxictr")
from fuxictr.features import FeatureMap
from fuxictr.pytorch.layers import MLP_Block
from fuxictr.pytorch.models import BaseModel

from fuxictr_loopfm.errors import ConfigError

ZOO = Path(__file__).parents[2] / "model_zoo"
AVERAGE = "layers.MaskedAveragePooling()"
DIM, MAX_LEN = 4, 6


def load_zoo(model: str) -> ModuleType:
    folder = ZOO / model / "src"
    name = f"zoo_of_test_models_{model}"
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


MODELS = {name: getattr(load_zoo(name), name) for name in ("DeepFM", "DIN", "DMIN")}
interests = sys.modules["zoo_of_test_models_DMIN.interests"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def feature_map(features: Mapping[str, Mapping[str, Any]], embedding_dim: int) -> FeatureMap:
    result = FeatureMap("tiny", "./")
    result.features = OrderedDict({k: {"source": "", **v} for k, v in features.items()})
    result.labels = ["clk"]
    result.default_emb_dim = embedding_dim
    result.num_fields = result.get_num_fields()
    return result


def build(model: str, features: Mapping[str, Mapping[str, Any]], **settings: Any) -> BaseModel:
    embedding_dim = settings.setdefault("embedding_dim", DIM)
    host = {"optimizer": "adam", "loss": "binary_crossentropy", "metrics": ["AUC"], "verbose": 0}
    shapes = feature_map(features, embedding_dim)
    torch.manual_seed(0)
    return MODELS[model](shapes, model_root="./", **host, **settings)


def categorical(size: int, **more: Any) -> dict[str, Any]:
    return {"type": "categorical", "padding_idx": 0, "vocab_size": size, **more}


def sequence(size: int, of: str, **more: Any) -> dict[str, Any]:
    more = {"max_len": MAX_LEN, **more}
    return {**categorical(size, share_embedding=of), "type": "sequence", **more}


# Parameter counts of the public benchmark runs, with their vocabularies.

TAOBAO = {
    "userid": 403_958, "cms_segid": 99, "cms_group_id": 15, "final_gender_code": 4, "age_level": 9,
    "pvalue_level": 6, "shopping_level": 5, "occupation": 4, "new_user_class_level": 7,
    "adgroup_id": 246_851, "cate_id": 11_330, "campaign_id": 191_771, "customer": 132_136,
    "brand": 308_870, "pid": 4, "btag": 6,
}  # fmt: skip
TAOBAO_GROUP = {
    "target": ("cate_id", "brand", "btag"),
    "his": ("cate_his", "brand_his", "btag_his"),
}


def taobao(encoder: str | None) -> dict[str, dict[str, Any]]:
    fields = {name: categorical(size) for name, size in TAOBAO.items()}
    for name in TAOBAO_GROUP["his"]:
        of = {"cate_his": "cate_id", "brand_his": "brand", "btag_his": "btag"}[name]
        fields[name] = sequence(TAOBAO[of], of, max_len=50, feature_encoder=encoder)
    return {"group_id": {"type": "meta"}, **fields, "price": {"type": "numeric"}}


def amazon() -> dict[str, dict[str, Any]]:
    return {
        "user_id": {"type": "meta"},
        "item_id": categorical(63_003),
        "cate_id": categorical(803),
        "item_history": sequence(63_003, "item_id", max_len=100),
        "cate_history": sequence(803, "cate_id", max_len=100),
    }


def kuai() -> dict[str, dict[str, Any]]:
    linear = "nn.Linear(64, 64, bias=False)"
    fields: dict[str, dict[str, Any]] = {
        "user_id": categorical(10_002),
        "item_id": categorical(632_406),
        "item_emb": categorical(3_242_317, feature_encoder=linear),
    }
    for side in ("pos", "neg"):
        fields[f"{side}_items"] = sequence(632_406, "item_id", max_len=100)
        fields[f"{side}_items_emb"] = sequence(
            3_242_317, "item_emb", max_len=100, feature_encoder=[linear]
        )
    return fields


TAOBAO_DMIN = {
    "target_field": TAOBAO_GROUP["target"], "sequence_field": TAOBAO_GROUP["his"],
    "num_heads": 1, "use_behavior_refiner": False, "pos_emb_dim": 4, "use_pos_emb": True,
    "attention_hidden_units": [512, 256], "attention_dropout": 0.2, "batch_norm": False,
    "dnn_hidden_units": [512, 256, 128], "dnn_activations": "ReLU", "embedding_dim": 32,
}  # fmt: skip
TAOBAO_DIN = {
    "din_target_field": TAOBAO_GROUP["target"], "din_sequence_field": TAOBAO_GROUP["his"],
    "attention_hidden_units": [512, 256], "attention_hidden_activations": "ReLU",
    "dnn_hidden_units": [512, 256, 128], "dnn_activations": "relu", "embedding_dim": 32,
}  # fmt: skip
AMAZON_GROUP = {"target": ("item_id", "cate_id"), "his": ("item_history", "cate_history")}
AMAZON_DMIN = {
    "target_field": AMAZON_GROUP["target"], "sequence_field": AMAZON_GROUP["his"],
    "num_heads": 8, "use_behavior_refiner": True, "pos_emb_dim": 4, "use_pos_emb": True,
    "attention_hidden_units": [256, 128], "attention_activation": "Dice", "batch_norm": True,
    "bn_only_once": True, "dnn_hidden_units": [1024, 512, 256], "dnn_activations": "ReLU",
    "embedding_dim": 64,
}  # fmt: skip
AMAZON_DIN = {
    "din_target_field": AMAZON_GROUP["target"], "din_sequence_field": AMAZON_GROUP["his"],
    "attention_hidden_units": [512, 256], "attention_hidden_activations": "Dice",
    "din_use_softmax": True, "dnn_hidden_units": [1024, 512, 256], "dnn_activations": "Dice",
    "batch_norm": True, "embedding_dim": 64,
}  # fmt: skip
KUAI_TARGET = [["item_id", "item_emb"], ["item_id", "item_emb"]]
KUAI_HIS = [["pos_items", "pos_items_emb"], ["neg_items", "neg_items_emb"]]
KUAI_DMIN = {
    "target_field": KUAI_TARGET, "sequence_field": KUAI_HIS, "num_heads": 2,
    "use_behavior_refiner": False, "use_pos_emb": False, "attention_hidden_units": [512, 256],
    "batch_norm": False, "dnn_hidden_units": [1024, 512, 256], "dnn_activations": "Dice",
    "embedding_dim": 64,
}  # fmt: skip
KUAI_DIN = {
    "din_target_field": KUAI_TARGET, "din_sequence_field": KUAI_HIS,
    "attention_hidden_units": [512, 256], "attention_hidden_activations": "ReLU",
    "dnn_hidden_units": [1024, 512, 256], "dnn_activations": "Dice", "embedding_dim": 64,
}  # fmt: skip
TAOBAO_DEEPFM = {"hidden_units": [512, 256, 128], "embedding_dim": 32}


@pytest.mark.parametrize(
    ("model", "features", "settings", "expected"),
    [
        ("DeepFM", taobao(AVERAGE), TAOBAO_DEEPFM, 43_550_260),
        ("DIN", taobao(None), TAOBAO_DIN, 42_263_682),
        ("DMIN", taobao(None), TAOBAO_DMIN, 42_347_786),
        ("DIN", amazon(), AMAZON_DIN, 5_403_522),
        ("DMIN", amazon(), AMAZON_DMIN, 8_107_401),
        ("DIN", kuai(), KUAI_DIN, 43_032_835),
        ("DMIN", kuai(), KUAI_DMIN, 44_479_237),
    ],
)
def test_parameter_count_equals_the_benchmarks(
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    features: dict[str, Any],
    settings: dict[str, Any],
    expected: int,
) -> None:
    monkeypatch.setattr(BaseModel, "model_to_device", lambda self: None)
    with torch.device("meta"):
        built = build(model, features, **settings)
    if "item_emb" in features:  # the benchmark freezes its pretrained table
        built.embedding_layer.embedding_layers["item_emb"].weight.requires_grad_(False)
    assert sum(p.numel() for p in built.parameters() if p.requires_grad) == expected
    trunk = built.mlp if model == "DeepFM" else built.dnn
    assert isinstance(trunk, MLP_Block)


# Small models that are actually run.

ITEMS = 9
FEATURES = {
    "user": categorical(5),
    "item": categorical(ITEMS),
    "cate": categorical(ITEMS),
    "price": {"type": "numeric"},
    "item_his": sequence(ITEMS, "item"),
    "cate_his": sequence(ITEMS, "cate"),
}
PLAIN = {k: v for k, v in FEATURES.items() if v["type"] != "sequence"}
HISTORIES = ([3, 5, 3], [], [7], [1, 2, 3, 4, 5, 6])
SEQUENTIAL = {
    "DIN": {
        "din_target_field": ("item", "cate"), "din_sequence_field": ("item_his", "cate_his"),
        "dnn_hidden_units": [8], "attention_hidden_units": [6],
    },
    "DMIN": {
        "target_field": ("item", "cate"), "sequence_field": ("item_his", "cate_his"),
        "dnn_hidden_units": [8], "attention_hidden_units": [6], "num_heads": 2,
    },
}  # fmt: skip
VARIANTS = [
    ("DIN", {}),
    ("DIN", {"din_use_softmax": True, "attention_hidden_activations": "ReLU"}),
    ("DMIN", {}),
    ("DMIN", {"use_behavior_refiner": False, "enable_sum_pooling": True, "num_heads": 4}),
    ("DMIN", {"use_pos_emb": False, "layer_norm": False, "attention_activation": "Dice"}),
]


def batch(length: int = MAX_LEN, side: str = "post", shift: int = 0) -> dict[str, Tensor]:
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


def sequential(model: str, **changes: Any) -> BaseModel:
    """A model whose embeddings and positions are large enough to matter."""
    built = build(model, FEATURES, **SEQUENTIAL[model] | changes)
    for module in built.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight[1:] if module.padding_idx == 0 else module.weight)
    return built.eval()


def predict(model: BaseModel, inputs: dict[str, Tensor]) -> Tensor:
    result: Tensor = model(inputs)["y_pred"].detach()
    return result


@pytest.mark.parametrize(("model", "changes"), VARIANTS)
def test_padding_changes_nothing(model: str, changes: dict[str, Any]) -> None:
    built = sequential(model, **changes)
    expected = predict(built, batch())
    assert expected.shape == (4, 1)
    torch.testing.assert_close(predict(built, batch(side="pre")), expected)
    longer = {k: v[:1] for k, v in batch().items()}
    shorter = longer | {k: longer[k][:, :3] for k in ("item_his", "cate_his")}
    torch.testing.assert_close(predict(built, shorter), expected[:1])
    for layer in built.embedding_layer.embedding_layers.values():
        if isinstance(layer, nn.Embedding):
            layer.weight.data[0] = 100.0
    torch.testing.assert_close(predict(built, batch(side="pre")), expected)


@pytest.mark.parametrize(("model", "changes"), VARIANTS)
def test_history_and_target_matter(model: str, changes: dict[str, Any]) -> None:
    built = sequential(model, **changes)
    expected = predict(built, batch())
    for name in ("item_his", "cate_his", "item", "cate", "user", "price"):
        moved = batch()
        moved[name] = torch.where(moved[name] != 0, moved[name] % 3 + 1, 0)
        assert not torch.allclose(predict(built, moved), expected, atol=1e-5), name


@pytest.mark.parametrize(("model", "changes"), VARIANTS)
def test_training_on_empty_histories_stays_finite(model: str, changes: dict[str, Any]) -> None:
    built = sequential(model, **changes).train()
    inputs = batch()
    for name in ("item_his", "cate_his"):
        inputs[name] = torch.zeros_like(inputs[name])
    result = built(inputs)
    built.compute_loss(result, built.get_labels(inputs)).backward()
    assert torch.isfinite(result["y_pred"]).all()
    assert all(torch.isfinite(p.grad).all() for p in built.parameters() if p.grad is not None)


@pytest.mark.parametrize("model", ["DeepFM", "DIN", "DMIN"])
@pytest.mark.parametrize("fields", [None, []])
def test_models_work_without_sequences(model: str, fields: list[str] | None) -> None:
    prefix = {"DeepFM": None, "DIN": "din_", "DMIN": ""}[model]
    settings: dict[str, Any] = {}
    if prefix is not None:
        settings = {f"{prefix}target_field": fields, f"{prefix}sequence_field": fields}
    built = build(model, PLAIN, **settings)
    inputs = {k: v for k, v in batch().items() if not k.endswith("his")}
    result = built(inputs)
    built.compute_loss(result, built.get_labels(inputs)).backward()
    assert result["y_pred"].shape == (4, 1)
    assert all(p.grad is not None for p in built.parameters())


@pytest.mark.parametrize("model", ["DIN", "DMIN"])
def test_extra_field_flows_into_the_trunk(model: str) -> None:
    extra = {"type": "embedding", "pretrain_dim": 3}
    prefix = "din_" if model == "DIN" else ""
    settings = {
        f"{prefix}target_field": "item",
        f"{prefix}sequence_field": "item_his",
        "attention_hidden_units": [6],
        "embedding_dim": DIM,
    }
    features = FEATURES | {"cate_his": FEATURES["cate_his"] | {"feature_encoder": AVERAGE}}
    plain = build(model, features, **settings)
    built = build(model, {**features, "loop": extra}, **settings).eval()
    first = {m: m.dnn.mlp[0].in_features for m in (plain, built)}
    assert first[built] == first[plain] + DIM
    inputs = batch() | {"loop": torch.randn(4, 3)}
    moved = inputs | {"loop": inputs["loop"] + 1}
    assert torch.all(predict(built, inputs) != predict(built, moved))


@pytest.mark.parametrize("model", ["DeepFM", "DIN", "DMIN"])
def test_order_of_the_batch_does_not_matter(model: str) -> None:
    """Train and test loaders may deliver their columns in different orders."""
    built = sequential(model) if model != "DeepFM" else build(model, PLAIN).eval()
    inputs = {k: v for k, v in batch().items() if model != "DeepFM" or not k.endswith("his")}
    backward = dict(reversed(inputs.items()))
    torch.testing.assert_close(predict(built, backward), predict(built, inputs))


def test_deepfm_adds_first_order_pairs_and_mlp() -> None:
    built = build("DeepFM", PLAIN, hidden_units=[3]).eval()
    for parameter in built.parameters():
        nn.init.normal_(parameter, std=0.5)
    inputs = {k: v for k, v in batch().items() if k in PLAIN}
    tables = built.embedding_layer.embedding_layer.embedding_layers
    scalars = built.fm.lr_layer.embedding_layer.embedding_layer.embedding_layers
    expected = []
    for row in range(4):
        value = {k: v[row : row + 1] if k == "price" else v[row] for k, v in inputs.items()}
        fields = [tables[name](value[name]) for name in PLAIN]
        logit = built.fm.lr_layer.bias + sum(scalars[name](value[name]) for name in PLAIN)
        logit = logit + sum(fields[i] @ fields[j] for i in range(4) for j in range(i))
        expected.append(torch.sigmoid(logit + built.mlp(torch.cat(fields))))
    torch.testing.assert_close(predict(built, inputs), torch.stack(expected).detach())


def test_din_equals_a_loop_over_behaviours() -> None:
    built = sequential("DIN", attention_hidden_activations="ReLU")
    inputs = batch()
    tables = built.embedding_layer.embedding_layers
    for row, history in enumerate(HISTORIES):
        target = torch.cat(
            [tables["item"](inputs["item"][row]), tables["cate"](inputs["cate"][row])]
        )
        pooled = torch.zeros(2 * DIM)
        for item in history:
            parts = [
                tables["item"](torch.tensor(item)),
                tables["cate"](torch.tensor((item + 1) % ITEMS)),
            ]
            s = torch.cat(parts)
            joined = torch.cat([target, s, target - s, target * s])
            pooled = pooled + built.attention_layers[0].score(joined) * s
        price = tables["price"](inputs["price"][row : row + 1])
        trunk = torch.cat([tables["user"](inputs["user"][row]), target, price, pooled])
        torch.testing.assert_close(predict(built, inputs)[row], built.dnn(trunk).detach())


def settings_of_interests(**changes: Any) -> Any:
    values: dict[str, Any] = {
        "num_heads": 2, "net_dropout": 0.0, "layer_norm": True, "attention_hidden_units": (6,),
        "attention_activation": "ReLU", "attention_dropout": 0.0, "pos_emb_dim": 3,
        "legacy_mask": False,
    }  # fmt: skip
    return interests.InterestSettings(**values | changes)


def group_of_width(width: int) -> Any:
    return interests.SequenceGroup(("t",), ("s",), (), width, MAX_LEN)


def test_interests_equal_loops_over_heads_and_behaviours() -> None:
    torch.manual_seed(0)
    width, heads = 4, 2
    module = interests.InterestExtractor(
        group_of_width(width), settings_of_interests(), refine=False, sum_pooling=True
    ).eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.7)
    lengths = (3, 1, 6)
    sequences, target = torch.randn(3, MAX_LEN, width), torch.randn(3, width)
    mask = torch.arange(MAX_LEN) < torch.tensor(lengths).unsqueeze(1)
    found, _ = module(sequences, target, mask)
    for row, length in enumerate(lengths):
        events = sequences[row, :length]
        query, key, value = module.attention.qkv(events).chunk(3, dim=-1)
        pooled = []
        for h, head in enumerate(module.heads):
            part = slice(h * width // heads, (h + 1) * width // heads)
            seen, scores = [], []
            for j in range(length):
                weight = (key[: j + 1, part] @ query[j, part] / math.sqrt(width / heads)).softmax(0)
                x = head.feed_forward.norm(head.output(weight @ value[: j + 1, part]) + events[j])
                x = x + head.feed_forward.narrow(head.feed_forward.widen(x).relu())
                q = head.placed_target(torch.cat([target[row], head.position.weight[j]]))
                scores.append(head.attention(torch.cat([q, x, q - x, q * x])))
                seen.append(x)
            pooled.append(torch.cat(scores).softmax(0) @ torch.stack(seen))
        total = events.sum(dim=0)
        expected = torch.cat([*pooled, total, target[row] * total])
        torch.testing.assert_close(found[row], expected)


def refiner(legacy: bool) -> nn.Module:
    torch.manual_seed(0)
    settings = settings_of_interests(legacy_mask=legacy)
    module: nn.Module = interests.BehaviorRefiner(4, settings).eval()
    return module


def test_refiner_never_looks_at_padding_or_ahead() -> None:
    inputs = torch.randn(1, MAX_LEN, 4)
    mask = torch.tensor([[True] * 4 + [False] * 2])
    allowed = interests.causal_mask(mask)
    for legacy in (False, True):
        module = refiner(legacy)
        expected = module(inputs, allowed)
        for changed, kept in ((5, slice(0, 4)), (3, slice(0, 3))):
            moved = inputs.clone()
            moved[0, changed] += 10.0
            difference = (module(moved, allowed) - expected)[0, kept].abs().max().item()
            # The legacy mask is known to leak: that it does is what makes it worth a switch.
            assert difference > 1e-3 if legacy else difference == 0.0


@pytest.mark.parametrize("legacy", [False, True])
def test_refiner_equals_torchs_attention_under_both_kinds_of_mask(legacy: bool) -> None:
    """A boolean mask excludes; FuxiCTR's float mask of ones is added to the scores."""
    module, inputs = refiner(legacy), torch.randn(2, MAX_LEN, 4)
    mask = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    allowed = interests.causal_mask(mask)
    host = nn.MultiheadAttention(4, 2, batch_first=True)
    host.in_proj_weight, host.in_proj_bias = module.attention.qkv.weight, module.attention.qkv.bias
    host.out_proj.weight, host.out_proj.bias = module.output.weight, module.output.bias
    forbidden = ~allowed.expand(-1, 2, -1, -1).flatten(0, 1)
    attended, _ = host(inputs, inputs, inputs, attn_mask=forbidden.float() if legacy else forbidden)
    expected = module.feed_forward(inputs, attended)
    torch.testing.assert_close(module(inputs, allowed), expected)


def test_legacy_mask_reaches_the_refiner() -> None:
    honest, legacy = sequential("DMIN"), sequential("DMIN", legacy_mask=True)
    legacy.load_state_dict(honest.state_dict())
    assert torch.all(predict(honest, batch())[3] != predict(legacy, batch())[3])


def test_auxiliary_loss_of_known_pairs() -> None:
    """The logit is (refined + following) / 2 for width 1; padding is 99 and must not enter."""
    network = nn.Linear(2, 1, bias=False)
    nn.init.constant_(network.weight, 0.5)
    refined = torch.tensor([[1.0, 2.0, 99.0], [1.0, 99.0, 99.0]]).unsqueeze(-1)
    actual = torch.tensor([[5.0, 3.0, 99.0], [5.0, 99.0, 99.0]]).unsqueeze(-1)
    sampled = torch.tensor([[5.0, -4.0, 99.0], [5.0, 99.0, 99.0]]).unsqueeze(-1)
    known = torch.tensor([[True, True, False], [True, False, False]])
    # One pair: logit 2 with truth 1, logit -1.5 with truth 0.
    expected = (math.log1p(math.exp(-2.0)) + math.log1p(math.exp(-1.5))) / 2
    loss = interests.next_behavior_loss(network, refined, actual, sampled, known, known)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    nothing = interests.next_behavior_loss(
        network, refined[1:], actual[1:], sampled[1:], known[1:], known[1:]
    )
    assert nothing.item() == 0.0


def test_auxiliary_loss_skips_a_missing_negative_and_a_negative_without_a_behaviour() -> None:
    network = nn.Linear(2, 1, bias=False)
    nn.init.constant_(network.weight, 0.5)
    values = torch.tensor([[1.0, 3.0], [7.0, 7.0]]).unsqueeze(-1)
    known = torch.tensor([[True, True], [True, False]])
    known_sampled = torch.tensor([[True, False], [True, True]])
    loss = interests.next_behavior_loss(network, values, values, values, known, known_sampled)
    assert loss.item() == pytest.approx(math.log1p(math.exp(-2.0)), rel=1e-6)


def test_auxiliary_loss_is_added_with_its_weight_while_training() -> None:
    features = FEATURES | {
        "item_neg": sequence(ITEMS, "item"),
        "cate_neg": sequence(ITEMS, "cate"),
    }
    settings = SEQUENTIAL["DMIN"] | {
        "neg_seq_field": ("item_neg", "cate_neg"), "aux_loss_lambda": 0.3, "batch_norm": False,
        "dnn_activations": "ReLU",
    }  # fmt: skip
    built = build("DMIN", features, **settings)
    inputs = batch()
    inputs |= {"item_neg": inputs["item_his"].flip(0), "cate_neg": inputs["cate_his"].flip(0)}
    labels = built.get_labels(inputs)
    trained = built.train()(inputs)
    served = built.eval()(inputs)
    torch.testing.assert_close(trained["y_pred"], served["y_pred"])
    assert trained["aux_loss"] > 0 and "aux_loss" not in served
    added = built.add_loss(trained, labels) - built.add_loss(served, labels)
    torch.testing.assert_close(added, 0.3 * trained["aux_loss"])
    added.backward()
    assert all(p.grad is not None for p in built.aux_net.parameters())


def test_auxiliary_loss_without_negatives_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"aux_loss_lambda: .*'item_his'.*neg_seq_field"):
        sequential("DMIN", aux_loss_lambda=0.1)


@pytest.mark.parametrize("model", ["DIN", "DMIN"])
def test_wrong_fields_are_refused_by_name(model: str) -> None:
    key = "din_target_field" if model == "DIN" else "target_field"
    with pytest.raises(ConfigError, match="field 'itme': no such feature"):
        sequential(model, **{key: ("itme", "cate")})


def test_heads_must_divide_the_width_of_a_sequence() -> None:
    with pytest.raises(ConfigError, match=r"divisor of .* 8, found 3"):
        sequential("DMIN", num_heads=3)


def test_pooled_sequences_are_refused_with_the_remedy() -> None:
    features = FEATURES | {"item_his": FEATURES["item_his"] | {"feature_encoder": AVERAGE}}
    built = build("DIN", features, **SEQUENTIAL["DIN"])
    with pytest.raises(ConfigError, match=r"\['item_his'\].*feature_encoder: null"):
        built(batch())


@pytest.mark.parametrize(("model", "changes"), [VARIANTS[0], VARIANTS[2]])
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
    built = sequential(model, learning_rate=1e-2, **changes).train()
    built._max_gradient_norm = 10.0
    losses = [built.train_step(inputs).item() for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]
