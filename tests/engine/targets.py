"""The names of the targets that run here: the one that is chosen by itself, and the others."""

from ai8xsim.kernels.generated.targets import PORTABLE, available_targets, choose_target

chosen = choose_target()
HOST = chosen.name if chosen else PORTABLE
NAMES = (*(target.name for target in available_targets()), PORTABLE)
OTHERS = tuple(name for name in NAMES if name != HOST)
