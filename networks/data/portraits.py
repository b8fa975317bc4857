"""Portraits, in three variants; see ai8xsim.data.loaders.portraits for the folder of data.

ai8xsim check-data networks/data/portraits.py:Portraits_80 --data AISegment --sheet portraits.png
"""

import sys

from ai8xsim.data.loaders.portraits import Portraits, portrait_loader


def show(done: int, total: int) -> None:
    """Say how far the first start has come."""
    if done % 500 == 0 or done == total:
        print(f"prepared {done} of {total} items", file=sys.stderr)


CLASSES = ("background", "portrait")

datasets = [
    {
        "name": "Portraits_80",
        "input": (3, 80, 80),
        "output": CLASSES,
        "loader": portrait_loader(Portraits(80, storage="memory"), show),
    },
    {
        "name": "Portraits_352",
        "input": (48, 88, 88),
        "output": CLASSES,
        "fold_ratio": 4,
        "loader": portrait_loader(Portraits(352, fold_ratio=4, storage="files"), show),
    },
    {
        "name": "Portraits_352_memory",
        "input": (48, 88, 88),
        "output": CLASSES,
        "fold_ratio": 4,
        "loader": portrait_loader(Portraits(352, fold_ratio=4, storage="memory"), show),
    },
]
