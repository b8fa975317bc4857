"""What the chip will do: description + checkpoint + device + input shape -> Program."""

from ai8xsim.program.operations import Layer, Options, Program, Shape
from ai8xsim.program.resolve import resolve

__all__ = ["Layer", "Options", "Program", "Shape", "resolve"]
