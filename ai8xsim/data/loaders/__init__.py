"""Loaders that are complete, to be used or to be copied from: portraits, folders of classes, VOC annotations.

A data-set file makes a loader with one call, as those under `networks/data/` do.
"""
