"""Algorithms with adaptive rates, where downhill had them."""

from .algorithms.adadelta import ADADELTA
from .algorithms.adagrad import ADAGRAD
from .algorithms.adam import Adam
from .algorithms.curvature import ESGD
from .algorithms.rmsprop import RMSProp
from .algorithms.rprop import RProp

__all__ = ["ADADELTA", "ADAGRAD", "ESGD", "Adam", "RMSProp", "RProp"]
