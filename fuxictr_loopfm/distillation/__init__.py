"""Transfer beside histories, in training only: distillation and representation losses."""
