"""What the project adds; a line for each."""

from . import decayed_mean, even_steps, label_projection, squared_logit

__all__ = ["decayed_mean", "even_steps", "label_projection", "squared_logit"]
