"""Transfer beside histories, in training only: distillation and representation losses."""

from fuxictr_loopfm.distillation.distiller import DistillationSpec, Distiller
from fuxictr_loopfm.distillation.registry import TRANSFERS, register_transfer
from fuxictr_loopfm.distillation.term import LossTerm, StepContext, TransferSpec
from fuxictr_loopfm.distillation.terms import AuxiliaryHead, scale_gradient
from fuxictr_loopfm.distillation.trunk import find_trunk, flat_fields

__all__ = [
    "TRANSFERS",
    "AuxiliaryHead",
    "DistillationSpec",
    "Distiller",
    "LossTerm",
    "StepContext",
    "TransferSpec",
    "find_trunk",
    "flat_fields",
    "register_transfer",
    "scale_gradient",
]
