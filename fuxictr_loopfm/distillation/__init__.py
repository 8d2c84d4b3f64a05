"""Transfer beside histories, in training only: distillation and representation losses."""

from fuxictr_loopfm.distillation.distiller import (
    AuxiliaryHead,
    DistillationSpec,
    Distiller,
    scale_gradient,
)
from fuxictr_loopfm.distillation.trunk import find_trunk, flat_fields

__all__ = [
    "AuxiliaryHead",
    "DistillationSpec",
    "Distiller",
    "find_trunk",
    "flat_fields",
    "scale_gradient",
]
