"""Everything that touches FuxiCTR: history fields, models, training, processes."""
