"""What is done to data in front of and behind a model, under the names that model and data-set files call it by.

Source: the vendor's classes; `spec/TRAINING.md` 8.
"""

from typing import Any, TypeVar

from ai8xsim.transforms import pixels

Image = TypeVar("Image")


class normalize:  # noqa: N801  (model and data files call it so)
    """From [0, 1] to the range of the model: integers in [-128, 127] with `args.act_mode_8bit`, else [-1, 1).

    The middle of the range is rounded to even: 0 is met by no pixel k / 255. Other values are saturated;
    `ai8xsim.data.normalize` refuses them.

    >>> import torch
    >>> from types import SimpleNamespace
    >>> normalize(SimpleNamespace(act_mode_8bit=True))(torch.tensor([0.0, 127 / 255, 128 / 255, 1.0])).tolist()
    [-128.0, -1.0, 1.0, 127.0]
    """

    def __init__(self, args: Any) -> None:
        self.args = args

    def __call__(self, image: Image) -> Image:
        scaled: Any = pixels.to_chip_range(image)
        in_range: Image = scaled if self.args.act_mode_8bit else scaled / 128
        return in_range


class fold:  # noqa: N801
    """(C, H, W) -> (C * r * r, H / r, W / r): channel (i * r + j) * C + c holds image[c, i::r, j::r].

    >>> import torch
    >>> fold(2)(torch.arange(16).reshape(1, 4, 4))[:, 0, 0].tolist()
    [0, 1, 4, 5]
    """

    def __init__(self, fold_ratio: int) -> None:
        self.fold_ratio = fold_ratio

    def __call__(self, image: Image) -> Image:
        return image if self.fold_ratio == 1 else pixels.fold(image, self.fold_ratio)


def unfold_batch(img_batch: Image, fold_ratio: int) -> Image:
    """The inverse of `fold` for a batch (N, C * ratio**2, H, W).

    >>> import torch
    >>> x = torch.arange(32).reshape(1, 2, 4, 4)
    >>> bool((unfold_batch(fold(2)(x[0])[None], 2) == x).all())
    True
    """
    return img_batch if fold_ratio == 1 else pixels.unfold(img_batch, fold_ratio)


class bayer_filter:  # noqa: N801
    """A colour image (3, H, W) as a Bayer sensor sees it, (1, H, W).

    Even rows hold green and blue, odd rows red and green.
    """

    def __call__(self, image: Image) -> Image:
        return pixels.bayer_filter(image)
