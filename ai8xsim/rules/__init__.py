"""The rules over descriptions, programs and samples, and `check`, which applies them all."""

from ai8xsim.diagnostics import NotRun
from ai8xsim.rules.check import Findings, check
from ai8xsim.rules.table import RULES

__all__ = ["RULES", "Findings", "NotRun", "check"]
