"""Compressors by the names used in configurations."""

from __future__ import annotations

from typing import TypeVar

from fuxictr_loopfm.compression.autoencoder import CoTrainer
from fuxictr_loopfm.compression.compressor import Compressor, CompressorSpec, Training
from fuxictr_loopfm.compression.controls import PostHoc, RandomProjection, Untrained
from fuxictr_loopfm.registry import Registry

CompressorT = TypeVar("CompressorT", bound=Compressor)

COMPRESSORS: Registry[Compressor] = Registry("compressor")


def register_compressor(compressor: type[CompressorT]) -> type[CompressorT]:
    """Make a compressor known by its ``kind``; also a decorator of its class.

    Raises:
        ConfigError: see ``Registry.add``.
    """
    COMPRESSORS.add(compressor)
    return compressor


for _compressor in (CoTrainer, PostHoc, Untrained, RandomProjection):
    register_compressor(_compressor)


def build_compressor(spec: CompressorSpec, training: Training) -> Compressor:
    """A compressor that has learned nothing yet.

    Raises:
        ConfigError: an unknown kind.
    """
    return COMPRESSORS.require(spec.kind).build(spec, training)
