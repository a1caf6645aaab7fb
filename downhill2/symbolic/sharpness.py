"""Sharpness-aware minimization: gradients are taken at a point beside the parameters."""

from __future__ import annotations

import pytensor.tensor as pt

from .formulas import HIGHEST, times
from .hyper import Hyper, Setting
from .measure import Measured
from .options import option, switch
from .rule import Rule


class SAM(Rule):
    r"""Take gradients where the loss is highest, to first order, within a distance of `sam`, arXiv:2010.01412.

    .. math::
        \epsilon = \rho \, T^2 g / \|T g\|, \qquad g_{SAM} = \nabla L(x + \epsilon)

    T is 1, or the magnitude of x for the adaptive distance of arXiv:2102.11600. That distance stays the same when the
    weights of a layer are scaled up and those of the next layer down.
    """

    sam = switch(Hyper(0.0, at_least=0, off=True), "rho", on=0.05)
    sam_adaptive = option(Setting(False), of="sam")

    def measure(self, measured: Measured) -> Measured:
        """Return the loss at the parameters, with its gradients at the point beside them."""
        sizes = [abs(p) if self.sam_adaptive else 1 for p in measured.params]
        scaled = [size * g for size, g in zip(sizes, measured.grads, strict=True)]
        length = measured.global_norm(scaled)
        # a gradient of 0 points nowhere, and moves nothing
        factor = pt.switch(pt.eq(length, 0), 0.0, pt.minimum(self.sam / length, HIGHEST))
        offsets = [times(factor, size * g) for size, g in zip(sizes, scaled, strict=True)]
        return measured.moved(offsets)
