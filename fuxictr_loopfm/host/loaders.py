"""Loaders of a run's splits, made by FuxiCTR so that it logs its lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fuxictr.pytorch.dataloaders import RankDataLoader

SPLITS = ("train", "valid", "test")


def loaders_by_split(
    feature_map: Any,
    data_loader: Callable[..., Any],
    paths: Mapping[str, Any],
    params: Mapping[str, Any],
) -> dict[str, Any]:
    """A loader for each split that has a file.

    Args:
        feature_map: FuxiCTR's description of the encoded columns.
        data_loader: class or function that makes one split's loader; called as
            ``data_loader(feature_map, path, split=..., batch_size=..., shuffle=..., **params)``.
        paths: encoded file by split; a split without one has no loader.
        params: FuxiCTR params; without ``shuffle`` training rows are shuffled, as in FuxiCTR.
    """
    files = {f"{split}_data": path for split, path in paths.items()}
    made = RankDataLoader(feature_map, stage="both", data_loader=data_loader, **{**params, **files})
    return {split: loader for split, loader in zip(SPLITS, made, strict=True) if loader is not None}
