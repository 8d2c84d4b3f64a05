"""DIN's attention equals a loop over the behaviours."""

from __future__ import annotations

import torch
from zoo_models import DIM, HISTORIES, ITEMS, batch, predict, sequential


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
