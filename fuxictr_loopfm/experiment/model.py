"""From an experiment to a FuxiCTR model: feature map, histories, seeds, and what code it is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.torch_utils import seed_everything

from fuxictr_loopfm import host
from fuxictr_loopfm.data.encode import EncodedView
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.experiment.experiment import Experiment
from fuxictr_loopfm.experiment.zoo import find_model, load_model_class


def feature_map_of(
    experiment: Experiment,
    view: EncodedView,
    fields: Sequence[host.HistoryField] = (),
    with_teacher_logit: bool = False,
    with_teacher_embedding: bool = False,
) -> FeatureMap:
    """FuxiCTR's feature map of a view, holding the wanted histories only."""
    feature_map = FeatureMap(experiment.params["dataset_id"], str(view.folder))
    feature_map.load(str(view.feature_map_path), {**experiment.params, "group_id": view.group_id})
    host.prepare_feature_map(feature_map, fields, with_teacher_logit, with_teacher_embedding)
    return feature_map


def new_model(
    experiment: Experiment, feature_map: FeatureMap, fields: Sequence[host.HistoryField] = ()
) -> Any:
    """A freshly initialised model; the same seed gives the same bits on one machine's CPU.

    Raises:
        ConfigError: the GPU asked for is absent, or see ``host.build_model``.
    """
    params = experiment.params
    if params["gpu"] >= 0 and not torch.cuda.is_available():
        raise ConfigError(
            f"--gpu {params['gpu']}: expected a CUDA device, found none; use --gpu -1"
        )
    model_class, _ = load_model_class(params["model"], list(experiment.zoos))
    torch.set_num_threads(experiment.keys.threads)
    Path(params["model_root"], feature_map.dataset_id).mkdir(parents=True, exist_ok=True)
    seed_everything(seed=params["seed"])
    model, shared = host.build_model(model_class, feature_map, params, fields)
    # Beside the registered modules: the encoders already belong to the embedding layers.
    object.__setattr__(model, "loopfm_histories", shared)
    return model


def count_parameters(model: Any) -> int:
    """Trainable parameters of the served model."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def source_identity(experiment: Experiment) -> str:
    """SHA-256 over the model's own source files."""
    folder = find_model(experiment.params["model"], list(experiment.zoos))
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
