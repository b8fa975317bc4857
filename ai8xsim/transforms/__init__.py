"""Pixels between cameras, files, training and the chip, for NumPy arrays and torch tensors alike.

One home for what `ai8xsim.data` offers (`pixels.py`), for the vendor's names (`named.py`), and for what is seen in a
picture's file (`pictures.py`, which needs Pillow). torch is never imported here: who brings a tensor has imported it.
Source: `spec/TRAINING.md` 8; the vendor's training software, classes `normalize`, `fold`, `bayer_filter`.
"""
