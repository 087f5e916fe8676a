"""Kinds of metrics, a file each: how terms become a number, and over what that can be summed.

Looks down at metrics/model.py alone. A new kind is a `Kind` (see there).
"""

from b2b_pipeline.metrics.kinds.cohort import Cohort
from b2b_pipeline.metrics.kinds.fitted import Fitted
from b2b_pipeline.metrics.kinds.linear import Linear
from b2b_pipeline.metrics.kinds.quantile import Quantile

__all__ = ["Cohort", "Fitted", "Linear", "Quantile"]
