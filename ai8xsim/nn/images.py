"""What is done to data in front of and behind a model: normalize, fold, unfold, a Bayer filter.

Source: `spec/TRAINING.md` 8.
"""

from typing import Any

import torch
from torch import Tensor


class normalize:  # noqa: N801  (model and data files call it so)
    """From [0, 1] to the range of the model: integers in [-128, 127] with `args.act_mode_8bit`, else [-1, 1).

    The middle of the range is rounded to even: 0 is met by no pixel k / 255.

    >>> from types import SimpleNamespace
    >>> normalize(SimpleNamespace(act_mode_8bit=True))(torch.tensor([0.0, 127 / 255, 128 / 255, 1.0])).tolist()
    [-128.0, -1.0, 1.0, 127.0]
    """

    def __init__(self, args: Any) -> None:
        self.args = args

    def __call__(self, image: Tensor) -> Tensor:
        scaled = image.sub(0.5).mul(256.0).round().clamp(-128, 127)
        return scaled if self.args.act_mode_8bit else scaled / 128


class fold:  # noqa: N801
    """(C, H, W) -> (C * r * r, H / r, W / r): channel (i * r + j) * C + c holds image[c, i::r, j::r].

    >>> fold(2)(torch.arange(16).reshape(1, 4, 4))[:, 0, 0].tolist()
    [0, 1, 4, 5]
    """

    def __init__(self, fold_ratio: int) -> None:
        self.fold_ratio = fold_ratio

    def __call__(self, image: Tensor) -> Tensor:
        r = self.fold_ratio
        if r == 1:
            return image
        return torch.cat([image[:, i::r, j::r] for i in range(r) for j in range(r)])


def unfold_batch(img_batch: Tensor, fold_ratio: int) -> Tensor:
    """The inverse of `fold` for a batch (N, C * ratio**2, H, W).

    >>> x = torch.arange(32).reshape(1, 2, 4, 4)
    >>> bool((unfold_batch(fold(2)(x[0])[None], 2) == x).all())
    True
    """
    r = fold_ratio
    if r == 1:
        return img_batch
    n, channels, rows, columns = img_batch.shape
    parts = img_batch.reshape(n, r, r, channels // (r * r), rows, columns)
    return parts.permute(0, 3, 4, 1, 5, 2).reshape(n, channels // (r * r), rows * r, columns * r)


class bayer_filter:  # noqa: N801
    """A colour image (3, H, W) as a Bayer sensor sees it, (1, H, W).

    Even rows hold green and blue, odd rows red and green.
    """

    def __call__(self, image: Tensor) -> Tensor:
        seen = torch.empty(1, *image.shape[1:], dtype=image.dtype)
        seen[0, 0::2, 0::2] = image[1, 0::2, 0::2]
        seen[0, 0::2, 1::2] = image[2, 0::2, 1::2]
        seen[0, 1::2, 0::2] = image[0, 1::2, 0::2]
        seen[0, 1::2, 1::2] = image[1, 1::2, 1::2]
        return seen
