"""Two roads to one answer, held side by side: plain PyTorch operators, a user's model, or a trace of another run."""

from ai8xsim.compare.measures import MEANINGS, Comparison, LayerComparison, Measures, compare, measure
from ai8xsim.compare.operators import torch_trace

__all__ = ["MEANINGS", "Comparison", "LayerComparison", "Measures", "compare", "measure", "torch_trace"]
