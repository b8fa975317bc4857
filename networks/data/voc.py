"""Images of PASCAL VOC with one object of a class that CIFAR-10 has, 32 x 32.

ai8xsim check-data networks/data/voc.py:VOC_CIFAR --data VOCdevkit/VOC2007

networks/cifar10.yaml takes such images, but tells ten classes apart: for these seven its last layer has
`out_channels: 7`, and it is trained anew.
"""

from ai8xsim.data.loaders.voc import VocImages, voc_loader

CLASSES = ("airplane", "automobile", "bird", "cat", "dog", "horse", "ship")
CALLED = (("aeroplane", "airplane"), ("car", "automobile"), ("boat", "ship"))

datasets = [
    {
        "name": "VOC_CIFAR",
        "input": (3, 32, 32),
        "output": CLASSES,
        "loader": voc_loader(VocImages(CLASSES, CALLED)),
    },
]
