"""Kernels generated for the processor: a whole network in one compiled call, over one arena of memory."""
