"""LoopFM for FuxiCTR: a teacher's embeddings of past impressions as a history feature.

What a project of yours needs is here under one name each; all else may move between releases.

To run: ``main(__file__)`` is the whole of a ``run_expid.py``.

To prepare a log: ``write_prepared`` writes a frame of impressions as a prepared data set that a
``DatasetSpec`` describes with its ``Column``, ``SequenceColumn`` and ``Periods``.
``PreparedDataset.load`` reads it.

To add: ``register_encoder``, ``register_codec``, ``register_compressor``, ``register_transfer``
and ``register_alignment`` make a class of yours known by its ``kind``: a ``SequenceEncoder``,
``Codec``, ``Compressor``, ``LossTerm`` or ``Alignment``, with settings that are each an ``Option``.

To catch: ``LoopFMError`` is the base of the errors that a user can mend.

Names are imported when they are first used, so ``import fuxictr_loopfm`` itself loads nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Name: the module that has it.
_HOMES = {
    "main": "runs.run_expid",
    "write_prepared": "prepared.dataset",
    "PreparedDataset": "prepared.dataset",
    "DatasetSpec": "prepared.spec",
    "Column": "prepared.parts",
    "SequenceColumn": "prepared.parts",
    "Periods": "prepared.parts",
    "Option": "registry",
    "SequenceEncoder": "layers.base",
    "register_encoder": "layers.registry",
    "Codec": "compression.codec",
    "register_codec": "compression.quantizer",
    "Compressor": "compression.compressor",
    "register_compressor": "compression.compressors",
    "LossTerm": "distillation.term",
    "register_transfer": "distillation.registry",
    "Alignment": "alignment.alignment",
    "register_alignment": "alignment.alignments",
    "LoopFMError": "errors",
    "ConfigError": "errors",
    "DataError": "errors",
    "StoreError": "errors",
    "ProvenanceError": "errors",
    "CausalityError": "errors",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
