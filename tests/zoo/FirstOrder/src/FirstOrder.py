"""A logistic regression: no embedding layer wider than 1."""

from __future__ import annotations

from typing import Any

from fuxictr.pytorch.layers import LogisticRegression
from fuxictr.pytorch.models import BaseModel


class FirstOrder(BaseModel):
    """One weight for each value of each field."""

    def __init__(
        self,
        feature_map: Any,
        model_id: str = "FirstOrder",
        gpu: int = -1,
        learning_rate: float = 1e-3,
        regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        both = {"embedding_regularizer": regularizer, "net_regularizer": regularizer}
        super().__init__(feature_map, model_id=model_id, gpu=gpu, **{**kwargs, **both})
        self.lr_layer = LogisticRegression(feature_map, use_bias=True)
        self.compile(kwargs["optimizer"], kwargs["loss"], learning_rate)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs: Any) -> dict[str, Any]:
        return {"y_pred": self.output_activation(self.lr_layer(self.get_inputs(inputs)))}
