"""Algorithms of first order, where downhill had them."""

from .algorithms.sgd import NAG, SGD

__all__ = ["NAG", "SGD"]
