"""Reads checkpoints: the integers that quantization left, without torch and without running anything.

A file goes through these modules from the bottom up:

    read.py            a path -> `Checkpoint`, or `CheckpointError` with every fault
    layers.py          one layer's tensors -> integers, or what is wrong with them
    values.py          are they integers, and does the chip keep them whole?
    names.py           which keys of the file belong to which layer
    container.py       the two formats of torch.save: zip archives and legacy files
    tensors.py         what a pickle says about a tensor, and its values
    pickle_machine.py  a pickle -> plain values; classes and functions stay names
    pickle_stack.py    what the opcodes of a pickle work on
    faults.py          the way of a fault out of the depth of a file
    model.py           `Checkpoint` and `CheckpointLayer`

`pickle_machine` knows nothing of torch, `tensors` nothing of files, `layers` nothing of formats.
"""

from ai8xsim.checkpoint.model import Checkpoint, CheckpointLayer
from ai8xsim.checkpoint.read import read_checkpoint

__all__ = ["Checkpoint", "CheckpointLayer", "read_checkpoint"]
