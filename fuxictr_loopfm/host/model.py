"""From an experiment to a FuxiCTR model: feature map, histories and seeds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.torch_utils import seed_everything
from torch import Tensor, nn

from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.config.zoo import load_model_class
from fuxictr_loopfm.data.artifact import REBUILD
from fuxictr_loopfm.data.columns import ColumnPlan, with_histories
from fuxictr_loopfm.data.encode import EncodedView
from fuxictr_loopfm.data.evaluated import feature_problems
from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.host import history_fields
from fuxictr_loopfm.host.model_failures import remember_fields
from fuxictr_loopfm.host.shared_history import HistoryField
from fuxictr_loopfm.host.table_optimizer import attach_tables
from fuxictr_loopfm.host.weights import OwnWeights


def feature_map_of(
    experiment: Experiment,
    view: EncodedView,
    fields: Sequence[HistoryField] = (),
    with_teacher_logit: bool = False,
    with_teacher_embedding: bool = False,
) -> FeatureMap:
    """FuxiCTR's feature map of a view, holding the wanted histories only.

    Raises:
        DataError: see ``read_feature_map``.
    """
    params = {**experiment.params, "group_id": view.group_id}
    feature_map = read_feature_map(view.feature_map_path, params, experiment.columns)
    history_fields.prepare_feature_map(
        feature_map, fields, with_teacher_logit, with_teacher_embedding
    )
    return feature_map


def read_feature_map(
    path: Path, params: Mapping[str, Any], plan: ColumnPlan | None = None
) -> FeatureMap:
    """A ``feature_map.json``; its texts that FuxiCTR evaluates are checked.

    Args:
        path: the file.
        params: FuxiCTR params; ``use_features`` and ``feature_specs`` may name histories.
        plan: the columns whose histories join the features of the file.
    Raises:
        DataError: the file is damaged, or holds a text that would run as code.
    """
    feature_map = FeatureMap(params["dataset_id"], str(path.parent))
    try:
        _load(feature_map, path, params, plan)
        described = feature_map.features.items()
        problems = [
            f"{name}: {text}" for name, spec in described for text in feature_problems(spec)
        ]
    except (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        problems = [f"expected FuxiCTR's feature map, found {error!r}"]
    if problems:
        raise DataError(f"{path}: {'; '.join(problems)}. {REBUILD}")
    return feature_map


def _load(
    feature_map: FeatureMap, path: Path, params: Mapping[str, Any], plan: ColumnPlan | None
) -> None:
    """FuxiCTR's ``load``, with the histories among the features before these are selected."""
    feature_map.load(str(path), {**params, "use_features": None, "feature_specs": None})
    if plan is not None:
        feature_map.features = OrderedDict(with_histories(feature_map.features, plan))
        feature_map.num_fields = feature_map.get_num_fields()
    if params.get("use_features"):
        chosen = params["use_features"]
        feature_map.features = OrderedDict((name, feature_map.features[name]) for name in chosen)
    if params.get("feature_specs"):
        feature_map.update_feature_specs(params["feature_specs"])
    feature_map.column_index = {}
    feature_map.set_column_index()


def new_model(
    experiment: Experiment,
    feature_map: FeatureMap,
    fields: Sequence[HistoryField] = (),
) -> Any:
    """A freshly initialised model; the same seed gives the same bits on one machine's CPU.

    Raises:
        ConfigError: see ``history_fields.build_model``.
    """
    params = experiment.params
    model_class, _ = load_model_class(params["model"], list(experiment.zoos))
    torch.set_num_threads(experiment.keys.threads)
    Path(params["model_root"], feature_map.dataset_id).mkdir(parents=True, exist_ok=True)
    seed_everything(seed=params["seed"])
    model, shared = history_fields.build_model(model_class, feature_map, params, fields)
    remember_fields(model, params)
    # Beside the registered modules: the encoders already belong to the embedding layers.
    object.__setattr__(model, "loopfm_histories", shared)
    loss_fn: Any = getattr(model, "loss_fn", None)
    if callable(loss_fn) and not isinstance(loss_fn, nn.Module):
        # A partial, because models are sent to the workers of an extraction.
        object.__setattr__(model, "loss_fn", partial(_loss_of_numbers, loss_fn, experiment.expid))
    own = OwnWeights(model)
    object.__setattr__(model, "save_weights", own.save)
    object.__setattr__(model, "load_weights", own.load)
    attach_tables(model, experiment.keys.table_optimizer, experiment.keys.table_state)
    return model


def _loss_of_numbers(
    loss_fn: Callable[..., Tensor], expid: str, prediction: Tensor, truth: Tensor, **kwargs: Any
) -> Tensor:
    """FuxiCTR's loss, which of a prediction that is no number says nothing that helps."""
    try:
        return loss_fn(prediction, truth, **kwargs)
    except RuntimeError as error:
        if bool(torch.isfinite(prediction).all()):
            raise
        raise DataError(
            f"{expid}: prediction: expected finite numbers, found NaN or infinite ones; the "
            "training diverged. Lower learning_rate, or look for huge values among the numeric "
            "features."
        ) from error


def count_parameters(model: Any) -> int:
    """Trainable parameters of the served model."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
