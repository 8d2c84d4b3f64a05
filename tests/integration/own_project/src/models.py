"""Two models of the project's own, written for FuxiCTR and not for this package."""

from fuxictr.pytorch.layers import FeatureEmbedding, MLP_Block
from fuxictr.pytorch.models import BaseModel


class MyModel(BaseModel):
    """An MLP on all fields."""

    def __init__(
        self,
        feature_map,
        model_id="MyModel",
        gpu=-1,
        learning_rate=1e-3,
        embedding_dim=8,
        hidden_units=(16,),
        **kwargs,
    ):
        super().__init__(feature_map, model_id=model_id, gpu=gpu, **kwargs)
        self.embedding_layer = FeatureEmbedding(feature_map, embedding_dim)
        self.mlp = MLP_Block(
            input_dim=feature_map.sum_emb_out_dim(),
            output_dim=1,
            hidden_units=list(hidden_units),
            output_activation=None,
        )
        self.compile(kwargs["optimizer"], kwargs["loss"], learning_rate)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs):
        """Predict a batch: ``y_pred`` (B, 1) float."""
        fields = self.embedding_layer(self.get_inputs(inputs))
        return {"y_pred": self.output_activation(self.mlp(fields.flatten(start_dim=1)))}


class MyTeacher(MyModel):
    """The same, for a larger configuration and more columns."""
