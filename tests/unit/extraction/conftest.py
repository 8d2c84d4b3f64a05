"""A small teacher made of the host's own layers: fields, a history, attention, a deep trunk."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from fuxictr.pytorch.layers import DIN_Attention, FeatureEmbedding, FeatureEmbeddingDict, MLP_Block
from fuxictr.pytorch.models import BaseModel
from torch import nn

VOCABULARY = 20
EMBEDDING_DIM = 4
HISTORY_LEN = 5


def feature_map() -> SimpleNamespace:
    categorical = {"source": "", "type": "categorical", "vocab_size": VOCABULARY, "padding_idx": 0}
    return SimpleNamespace(
        dataset_id="tiny",
        labels=["click"],
        group_id=None,
        features={
            "user": dict(categorical),
            "price": {"source": "", "type": "numeric"},
            "item": dict(categorical),
            "history": {**categorical, "type": "sequence", "share_embedding": "item"},
            "event_id": {"source": "", "type": "meta"},
        },
    )


class TinyTeacher(BaseModel):
    """First-order term, target attention over the history, then a two-layer trunk."""

    def __init__(self, tmp_path, hidden_units=(6, 5), dropout=0.2, **mlp) -> None:
        features = feature_map()
        super().__init__(
            features, gpu=-1, verbose=0, model_root=str(tmp_path), metrics=["AUC"],
            embedding_regularizer=None, net_regularizer=None,
        )  # fmt: skip
        self._max_gradient_norm = 10.0
        self.first_order = FeatureEmbedding(features, 1, use_pretrain=False, use_sharing=False)
        self.embedding_layer = FeatureEmbeddingDict(features, EMBEDDING_DIM)
        self.attention_layers = nn.ModuleList(
            [DIN_Attention(EMBEDDING_DIM, attention_units=[64], dropout_rate=dropout)]
        )
        self.dnn = MLP_Block(
            4 * EMBEDDING_DIM, list(hidden_units), output_dim=1, dropout_rates=dropout, **mlp
        )
        self.compile("adam", "binary_crossentropy", 1e-2)
        self.reset_parameters()
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight[1:].data)

    def forward(self, inputs):
        x = self.get_inputs(inputs)
        fields = self.embedding_layer(x)
        first = self.first_order.embedding_layer(x)
        first["history"] = first["history"].reshape(len(first["history"]), -1)[:, :1]
        mask = x["history"].long() != 0
        fields["history"] = self.attention_layers[0](fields["item"], fields["history"], mask)
        deep = self.dnn(torch.cat(list(fields.values()), dim=-1))
        y_pred = self.output_activation(deep + sum(first.values()))
        return {"y_pred": y_pred}


@pytest.fixture
def make_teacher(tmp_path):
    def make(**options) -> TinyTeacher:
        torch.manual_seed(0)
        return TinyTeacher(tmp_path, **options)

    return make


@pytest.fixture
def teacher(make_teacher):
    return make_teacher()


def make_batch(rows: int = 7, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    history = torch.randint(1, VOCABULARY, (rows, HISTORY_LEN), generator=generator)
    length = torch.randint(0, HISTORY_LEN + 1, (rows, 1), generator=generator)
    length[0] = 0
    return {
        "event_id": torch.arange(rows) + 100 * seed,
        "history": history * (torch.arange(HISTORY_LEN) >= HISTORY_LEN - length),
        "item": torch.randint(1, VOCABULARY, (rows,), generator=generator),
        "user": torch.randint(1, VOCABULARY, (rows,), generator=generator),
        "price": torch.randn(rows, generator=generator),
        "click": torch.randint(0, 2, (rows,), generator=generator),
    }


@pytest.fixture(name="make_batch")
def make_batch_fixture():
    return make_batch
