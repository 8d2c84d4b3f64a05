"""Taps: names to modules, and what the recorder reads from a model made of the host's layers."""

from __future__ import annotations

import pytest
import torch
from fuxictr.pytorch.layers import FeatureEmbedding, MLP_Block
from torch import nn

from fuxictr_loopfm.errors import ConfigError, DataError
from fuxictr_loopfm.extraction.tap import Tap, TapRecorder, resolve_taps


def read(model, names, batch, item_fields=()):
    model.eval()
    with torch.no_grad(), TapRecorder(model, resolve_taps(model, names, item_fields)) as recorder:
        model(batch)
        return recorder.read()


def by_hand(model, batch):
    """The teacher's inner values in eval mode: field embeddings, hidden 0, hidden 1."""
    model.eval()
    with torch.no_grad():
        table = model.embedding_layer.embedding_layers
        item = table["item"].weight[batch["item"]]
        steps = table["item"].weight[batch["history"]]
        fields = {
            "user": table["user"].weight[batch["user"]],
            "price": batch["price"][:, None] * table["price"].weight.T,
            "item": item,
        }
        attended = model.attention_layers[0](item, steps, batch["history"] != 0)
        x = torch.cat([attended, item, fields["user"], fields["price"]], dim=1)
        linears = [m for m in model.dnn.mlp if isinstance(m, nn.Linear)]
        hidden_0 = torch.relu(linears[0](x))
        hidden_1 = torch.relu(linears[1](hidden_0))
    return fields, steps, hidden_0, hidden_1


def test_hidden_layers_are_read_after_activation(teacher, make_batch):
    batch = make_batch()
    _, _, hidden_0, hidden_1 = by_hand(teacher, batch)
    torch.testing.assert_close(read(teacher, ["hidden_0"], batch), hidden_0)
    torch.testing.assert_close(read(teacher, ["deep"], batch), hidden_1)
    both = torch.cat([hidden_0, hidden_1], dim=1)
    torch.testing.assert_close(read(teacher, ["all"], batch), both)
    swapped = torch.cat([hidden_1, hidden_0], dim=1)
    torch.testing.assert_close(read(teacher, ["hidden_1", "hidden_0"], batch), swapped)


def test_hidden_layers_are_read_before_dropout(make_teacher, make_batch):
    teacher = make_teacher(dropout=0.9).train()
    with TapRecorder(teacher, resolve_taps(teacher, ["hidden_0"])) as recorder:
        teacher(make_batch(rows=64))
        kept = (recorder.read() > 0).float().mean()
    assert kept > 0.3


def test_emb_keeps_the_layers_field_order_and_pools_sequences(teacher, make_batch):
    batch = make_batch()
    fields, steps, _, _ = by_hand(teacher, batch)
    history = torch.zeros(len(steps), 4)
    for row, ids in enumerate(batch["history"].tolist()):
        valid = [steps[row, i] for i, token in enumerate(ids) if token != 0]
        if valid:
            history[row] = torch.stack(valid).mean(dim=0)
    assert not history[0].any()
    expected = torch.cat([fields["user"], fields["price"], fields["item"], history], dim=1)
    torch.testing.assert_close(read(teacher, ["emb"], batch), expected)
    reordered = dict(reversed(batch.items()))
    torch.testing.assert_close(read(teacher, ["emb"], reordered), expected)


def test_item_only_reads_the_item_fields_in_the_order_given(teacher, make_batch):
    batch = make_batch()
    fields, *_ = by_hand(teacher, batch)
    expected = torch.cat([fields["item"], fields["price"]], dim=1)
    torch.testing.assert_close(read(teacher, ["item_only"], batch, ["item", "price"]), expected)


def test_soft_label_is_the_prediction(teacher, make_batch):
    batch = make_batch()
    with torch.no_grad():
        expected = teacher.eval()(batch)["y_pred"]
    assert torch.equal(read(teacher, ["soft_label"], batch), expected)


def test_module_paths_work_and_read_before_the_activation(teacher, make_batch):
    batch = make_batch()
    raw = read(teacher, ["dnn.mlp.0"], batch)
    assert (raw < 0).any()
    torch.testing.assert_close(torch.relu(raw), by_hand(teacher, batch)[2])


def test_a_later_in_place_operation_does_not_change_what_was_read(make_batch, make_teacher):
    teacher = make_teacher(dropout=0.0)
    expected = read(teacher, ["dnn.mlp.0"], make_batch())
    teacher.dnn.mlp[1] = nn.ReLU(inplace=True)
    assert (expected < 0).any()
    assert torch.equal(read(teacher, ["dnn.mlp.0"], make_batch()), expected)


class TestTrunk:
    """Which MLP is the trunk, and which of its modules end a hidden layer."""

    @staticmethod
    def paths(model: nn.Module) -> list[str]:
        return [tap.path for tap in resolve_taps(model, ["all"])]

    @pytest.mark.parametrize(("options", "expected"), [
        ({"output_dim": 1}, [1, 3]),
        ({}, [1, 3]),
        ({"output_dim": 1, "output_activation": "Sigmoid"}, [1, 3]),
        ({"output_dim": 3}, [1, 3]),
        ({"output_dim": 1, "dropout_rates": 0.5}, [1, 4]),
        ({"dropout_rates": 0.5}, [1, 4]),
        ({"output_dim": 1, "batch_norm": True, "dropout_rates": 0.5}, [2, 6]),
        ({"output_dim": 1, "batch_norm": True, "bn_only_once": True}, [2, 4]),
        ({"output_dim": 1, "hidden_activations": "Dice"}, [1, 3]),
        ({"output_dim": 1, "hidden_activations": None}, [0, 1]),
        ({"hidden_activations": None}, [0, 1]),
    ])  # fmt: skip
    def test_host_block(self, options, expected):
        model = nn.Module()
        model.net = MLP_Block(8, [6, 4], **options)
        assert self.paths(model) == [f"net.mlp.{index}" for index in expected]

    def test_the_block_with_the_largest_first_layer_wins(self):
        model = nn.Module()
        model.gate = MLP_Block(4, [8, 300])
        model.wide = MLP_Block(50, [3], output_dim=1)
        model.other = MLP_Block(50, [3], output_dim=1)
        assert self.paths(model) == ["wide.mlp.1"]

    def test_attention_owns_its_mlps(self, teacher):
        # The attention's first Linear (16 x 64) is larger than the trunk's (16 x 6).
        assert self.paths(teacher) == ["dnn.mlp.1", "dnn.mlp.4"]

    def test_a_block_without_hidden_layers_is_no_trunk(self):
        model = nn.Module()
        model.head = MLP_Block(500, [], output_dim=1)
        model.deep = MLP_Block(4, [3], output_dim=1)
        assert self.paths(model) == ["deep.mlp.1"]


def test_the_wide_embedding_layer_is_preferred_to_the_first_order_one(teacher):
    assert resolve_taps(teacher, ["emb"]) == [Tap("emb", "embedding_layer")]


def test_the_inner_dictionary_of_the_tensor_form_is_tapped(teacher):
    model = nn.Module()
    model.embedding_layer = FeatureEmbedding(teacher.feature_map, 4)
    assert resolve_taps(model, ["emb"])[0].path == "embedding_layer.embedding_layer"


def test_unknown_names_are_all_reported_with_what_exists(teacher):
    with pytest.raises(ConfigError) as caught:
        resolve_taps(teacher, ["hidden_2", "dnn.mpl.0", "emb"])
    assert len(caught.value.problems) == 2
    first, second = caught.value.problems
    assert "TinyTeacher has no 'hidden_2'" in first
    assert "names: soft_label, emb, item_only, user_only, hidden_0, hidden_1, deep, all" in first
    assert "attention_layers.0.attention_layer.mlp.0" in first
    assert "did you mean 'dnn.mlp.0'?" in second
    assert "embedding_layer.embedding_layers" not in first


@pytest.mark.parametrize("name", ["hidden_-1", "hidden_", "hidden_01", "", "Hidden_0"])
def test_near_names_are_not_guessed(teacher, name):
    with pytest.raises(ConfigError, match="has no"):
        resolve_taps(teacher, [name])


@pytest.mark.parametrize(
    "names", [["all", "deep"], ["hidden_0", "hidden_0"], ["hidden_0", "dnn.mlp.1"]]
)
def test_reading_one_activation_twice_is_refused(teacher, names):
    with pytest.raises(ConfigError, match="expected another activation than hidden_"):
        resolve_taps(teacher, names)


def test_item_only_needs_fields_that_the_teacher_embeds(teacher):
    with pytest.raises(ConfigError, match="choose among user, price, item, history"):
        resolve_taps(teacher, ["item_only"])
    with pytest.raises(ConfigError, match="does not embed brand, shop; it embeds user, price"):
        resolve_taps(teacher, ["item_only"], ["item", "brand", "shop"])


def test_no_names_and_models_without_parts_are_refused(teacher):
    with pytest.raises(ConfigError, match="found none"):
        resolve_taps(teacher, [])
    bare = nn.Sequential(nn.Linear(2, 1))
    for name in ("emb", "item_only", "hidden_0", "deep", "all"):
        with pytest.raises(ConfigError, match=rf"no '{name}'.*names: soft_label; module paths: 0"):
            resolve_taps(bare, [name])
    assert resolve_taps(bare, ["soft_label"]) == [Tap("soft_label", "")]


def hook_count(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_leaving_removes_every_trace_even_after_an_error(teacher, make_batch):
    taps = resolve_taps(teacher, ["emb", "all", "soft_label"])
    broken = TapRecorder(teacher, taps)
    with broken:
        assert hook_count(teacher) == 3
    with pytest.raises(KeyError), broken:
        teacher({"unknown": torch.zeros(1)})
    assert hook_count(teacher) == 0
    assert "forward" not in vars(teacher)
    recorder = TapRecorder(teacher, taps)
    for _ in range(2):
        with recorder:
            teacher(make_batch())
            assert recorder.read().shape == (7, 4 * 4 + 6 + 5 + 1)
        with pytest.raises(DataError, match="no forward pass"):
            recorder.read()


def test_nested_recorders_read_independently(teacher, make_batch):
    batch = make_batch()
    teacher.eval()
    outer = TapRecorder(teacher, resolve_taps(teacher, ["soft_label"]))
    inner = TapRecorder(teacher, resolve_taps(teacher, ["soft_label", "deep"]))
    with outer:
        with inner:
            prediction = teacher(batch)["y_pred"]
            assert torch.equal(inner.read()[:, :1], prediction)
        assert torch.equal(outer.read(), prediction)
        again = teacher(make_batch(seed=1))["y_pred"]
        assert torch.equal(outer.read(), again)
    with outer, pytest.raises(RuntimeError, match="already recording"):
        outer.__enter__()


def test_only_the_last_pass_is_read_and_an_unfinished_one_is_not(teacher, make_batch):
    teacher.eval()
    with TapRecorder(teacher, resolve_taps(teacher, ["hidden_0"])) as recorder:
        with pytest.raises(DataError, match="no forward pass"):
            recorder.read()
        teacher(make_batch(rows=7))
        teacher(make_batch(rows=3))
        assert recorder.read().shape == (3, 6)
        with pytest.raises(KeyError):
            teacher({"unknown": torch.zeros(1)})
        with pytest.raises(DataError, match="no forward pass"):
            recorder.read()


def train(teacher, batches, names=()):
    recorder = TapRecorder(teacher, resolve_taps(teacher, names)) if names else None
    torch.manual_seed(5)
    teacher.train()
    if recorder is None:
        for batch in batches:
            teacher.train_step(batch)
        return
    with recorder:
        for batch in batches:
            teacher.train_step(batch)
            assert recorder.read().shape[0] == len(batch["click"])


def test_training_under_a_recorder_changes_no_weight(make_teacher, make_batch):
    # The host's train_step calls self.forward, which skips hooks on the model itself.
    batches = [make_batch(rows=32, seed=seed) for seed in range(10)]
    alone, recorded = make_teacher(batch_norm=True), make_teacher(batch_norm=True)
    train(alone, batches)
    train(recorded, batches, ["emb", "all", "soft_label"])
    for name, value in alone.state_dict().items():
        assert torch.equal(value, recorded.state_dict()[name]), name


class Parts(nn.Module):
    """A model whose parts misbehave on request."""

    def __init__(self, run) -> None:
        super().__init__()
        self.first = nn.Identity()
        self.second = nn.Identity()
        self.run = run

    def forward(self, x):
        self.run(self, x)
        return {"logit": x}


def test_reading_is_detached_and_float32():
    model = Parts(lambda m, x: (m.first(x * 2), m.second({"a": x * 3})))
    with TapRecorder(model, [Tap("f", "first"), Tap("s", "second")]) as recorder:
        model(torch.ones(1, 1, dtype=torch.float64, requires_grad=True))
        part = recorder.read()
    assert part.tolist() == [[2.0, 3.0]]
    assert part.dtype == torch.float32
    assert not part.requires_grad


@pytest.mark.parametrize(("run", "path", "message"), [
    (lambda m, x: m.first(x), "second", "tap t: .* did not produce module second"),
    (lambda m, x: m.first(x), "", "tap t: .* did not produce y_pred"),
    (lambda m, x: (m.second(x), m.second(x)), "second", "tap t: module second ran 2 times"),
    (lambda m, x: m.second((x, x)), "second", "tap t: expected a tensor .* found tuple"),
    (lambda m, x: m.second(x.sum()), "second", "tap t: expected a tensor"),
    (lambda m, x: m.second(x[:2]), "second", "tap t: expected 3 rows like f, found 2"),
    (lambda m, x: m.second(x / 0), "second", "tap t: .* found 6 NaN or infinite of 6"),
    (lambda m, x: m.second({"a": x, "b": x[:1]}), "second", "tap t: field b: expected 3 rows"),
    (lambda m, x: m.second({}), "second", "tap t: fields .none. were not in the batch"),
])  # fmt: skip
def test_bad_activations_name_the_tap(run, path, message):
    model = Parts(lambda m, x: (run(m, x), m.first(x) if path == "second" else None))
    taps = [Tap("f", "first"), Tap("t", path)]
    if message.startswith("tap t: .* did not produce module"):
        model = Parts(run)
    with TapRecorder(model, taps) as recorder:
        model(torch.ones(3, 2))
        with pytest.raises(DataError, match=message):
            recorder.read()


def test_values_whose_sum_overflows_are_still_finite():
    model = Parts(lambda m, x: m.first(x * 3e38))
    with TapRecorder(model, [Tap("f", "first")]) as recorder:
        model(torch.ones(3, 2))
        assert torch.isfinite(recorder.read()).all()


def test_fields_looked_up_in_separate_calls_are_joined():
    def run(m, x):
        m.first({"user": x})
        m.first({"item": 2 * x})

    model = Parts(run)
    with TapRecorder(model, [Tap("f", "first")]) as recorder:
        model(torch.ones(3, 2))
        assert recorder.read().tolist() == [[1.0, 1.0, 2.0, 2.0]] * 3


def test_missing_item_field_in_the_batch_is_named(teacher, make_batch):
    model = Parts(lambda m, x: m.first({"user": x}))
    with TapRecorder(model, [Tap("item_only", "first", ("item",))]) as recorder:
        model(torch.ones(3, 2))
        with pytest.raises(
            DataError, match="tap item_only: fields item were not in the batch; found user"
        ):
            recorder.read()


def test_tensor_valued_embedding_layers_are_flattened():
    model = Parts(lambda m, x: m.first(torch.arange(12.0).reshape(2, 3, 2)))
    with TapRecorder(model, [Tap("emb", "first")]) as recorder:
        model(torch.ones(1))
        assert recorder.read().tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]


def test_user_only_reads_the_user_fields(teacher, make_batch):
    batch = make_batch()
    expected = read(teacher, ["item_only"], batch, ["user"])
    recorded = TapRecorder(teacher, resolve_taps(teacher, ["user_only"], (), ["user"]))
    with recorded:
        teacher(batch)
        torch.testing.assert_close(recorded.read(), expected)
    with pytest.raises(ConfigError, match="user_only needs the fields to keep"):
        resolve_taps(teacher, ["user_only"], ["item"])


def test_a_plain_mlp_that_a_model_calls_attention_is_not_the_trunk():
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = MLP_Block(512, hidden_units=[256], output_dim=1)
            self.dnn = MLP_Block(16, hidden_units=[8], output_dim=1)

    assert [tap.path for tap in resolve_taps(Model(), ["hidden_0"])] == ["dnn.mlp.1"]
