"""PyTorch modules with the chip's arithmetic, for models that were written for the vendor's `ai8x`.

    with ai8xsim.nn.setting("MAX78000", simulate=True):
        model = ai8xsim.nn.load_model("ai85net.py:ai85net5", num_classes=10, num_channels=1, dimensions=(28, 28))

Modules are made from one table (`table.py`); `setting` says for which device they compute and how.
"""

from ai8xsim.nn.blocks import ConvResidualBottleneck, Empty, Fire, MBConvBlock, ResidualBottleneck
from ai8xsim.nn.elementwise import Add, BitwiseOr, BitwiseXor, Eltwise, Sub
from ai8xsim.nn.layer import Layer
from ai8xsim.nn.loading import load_checkpoint, load_model
from ai8xsim.nn.modules import *  # noqa: F403  (the names of the table)
from ai8xsim.nn.modules import __all__ as _made
from ai8xsim.nn.setting import DeviceFront, Setting, current_setting, set_device, setting
from ai8xsim.nn.software import FusedSoftwareLinearReLU, SoftwareLinear
from ai8xsim.nn.tools import fuse_bn_layers, initiate_qat, update_model, update_optimizer
from ai8xsim.transforms.named import bayer_filter, fold, normalize, unfold_batch

QuantizationAwareModule = Layer
dev = DeviceFront()

__all__ = [  # noqa: PLE0604
    "Add",
    "BitwiseOr",
    "BitwiseXor",
    "ConvResidualBottleneck",
    "DeviceFront",
    "Eltwise",
    "Empty",
    "Fire",
    "FusedSoftwareLinearReLU",
    "Layer",
    "MBConvBlock",
    "QuantizationAwareModule",
    "ResidualBottleneck",
    "Setting",
    "SoftwareLinear",
    "Sub",
    "bayer_filter",
    "current_setting",
    "dev",
    "fold",
    "fuse_bn_layers",
    "initiate_qat",
    "load_checkpoint",
    "load_model",
    "normalize",
    "set_device",
    "setting",
    "unfold_batch",
    "update_model",
    "update_optimizer",
    *_made,
]
