"""Pixel arithmetic between cameras, training and the chip, for NumPy arrays and torch tensors alike.

One home for what `ai8xsim.data` offers (`pixels.py`) and for the vendor's names (`named.py`). torch is never imported
here: who brings a tensor has imported it.
Source: `spec/TRAINING.md` 8; the vendor's training software, classes `normalize`, `fold`, `bayer_filter`.
"""
