"""What happens to a gradient before the rule and to a step after it: rules whose `grad` is the value so far."""

from __future__ import annotations

import pytensor.tensor as pt

from .formulas import limit_norm, norm
from .graph import Variable
from .hyper import Hyper, Setting
from .rule import Rule
from .state import Zeros


class ClipElement(Rule):
    """Clip every element of a gradient to [-max_gradient_elem, max_gradient_elem]."""

    max_gradient_elem = Hyper(0.0, at_least=0, off=True, former=("max_gradient_clip", "gradient_clip"))

    def direction(self, param: Variable, grad: Variable) -> tuple[Variable, dict[str, Variable]]:
        return pt.clip(grad, -self.max_gradient_elem, self.max_gradient_elem), {}


class ClipNorm(Rule):
    """Scale each parameter's gradient to a Euclidean norm of at most max_gradient_norm."""

    scope = "tensor"
    max_gradient_norm = Hyper(0.0, at_least=0, off=True)

    def direction(self, param: Variable, grad: Variable) -> tuple[Variable, dict[str, Variable]]:
        return limit_norm(grad, norm(grad), self.max_gradient_norm), {}


class ClipGlobalNorm(Rule):
    """Scale all gradients together to a Euclidean norm of at most max_global_norm."""

    needs = ("global_norm",)
    max_global_norm = Hyper(0.0, at_least=0, off=True)

    def direction(self, param: Variable, grad: Variable) -> tuple[Variable, dict[str, Variable]]:
        return limit_norm(grad, self.global_norm, self.max_global_norm), {}


class WeightDecay(Rule):
    """Shrink parameters: through the gradient (coupled, L2), or beside the step (decoupled, independent)."""

    weight_decay = Hyper(0.0, at_least=0, off=True)
    decay = Setting("coupled", ("coupled", "decoupled", "independent"))

    def direction(self, param: Variable, grad: Variable) -> tuple[Variable, dict[str, Variable]]:
        rate = self.rate if self.decay == "decoupled" else 1
        return grad + rate * self.weight_decay * param, {}


class Momentum(Rule):
    """Move on in the direction of earlier steps.

    Nesterov's variant is written at the point where the gradient is taken, eq. (7) of arXiv:1212.0901.
    """

    momentum = Hyper(0.0, at_least=0, below=1, off=True)
    nesterov = Setting(False)
    momentum_rate = Setting("inside", ("inside", "outside"))
    v = Zeros()

    def direction(self, param: Variable, step: Variable, v: Variable) -> tuple[Variable, dict[str, Variable]]:
        v_t = self.momentum * v + step
        return self.momentum * v_t + step if self.nesterov else v_t, {"v": v_t}


class Rate(Rule):
    """Multiply a direction by the learning rate."""

    def direction(self, param: Variable, grad: Variable) -> tuple[Variable, dict[str, Variable]]:
        return self.rate * grad, {}
