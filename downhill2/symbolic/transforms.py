"""What happens to a gradient before the rule and to a step after it: rules whose `grad` is the value so far."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt

from .formulas import dot, limit_norm, norm
from .graph import Variable
from .hyper import Hyper, Setting
from .options import Count, option, switch
from .rule import Rule
from .state import Copy, Init, State, Zeros

Direction = tuple[Variable, dict[str, Variable]]


class Centralize(Rule):
    """Subtract from each slice of a gradient along the first axis its mean, arXiv:2004.01461; vectors stay."""

    scope = "tensor"
    needs = ("shape",)
    centralize = Setting(False)

    def direction(self, param: Variable, grad: Variable) -> Direction:
        if len(self.shape) < 2 or 0 in self.shape:
            return grad, {}
        return grad - grad.mean(axis=range(1, grad.ndim), keepdims=True), {}


class ClipElement(Rule):
    """Clip every element of a gradient to [-max_gradient_elem, max_gradient_elem]."""

    max_gradient_elem = Hyper(0.0, at_least=0, off=True, former=("max_gradient_clip", "gradient_clip"))

    def direction(self, param: Variable, grad: Variable) -> Direction:
        most = pt.switch(pt.le(self.max_gradient_elem, 0), np.inf, self.max_gradient_elem)
        return pt.clip(grad, -most, most), {}


class ClipNorm(Rule):
    """Scale each parameter's gradient to a Euclidean norm of at most max_gradient_norm."""

    scope = "tensor"
    max_gradient_norm = Hyper(0.0, at_least=0, off=True)

    def direction(self, param: Variable, grad: Variable) -> Direction:
        return limit_norm(grad, norm(grad), self.max_gradient_norm), {}


class ClipGlobalNorm(Rule):
    """Scale all gradients together to a Euclidean norm of at most max_global_norm."""

    needs = ("global_norm",)
    max_global_norm = Hyper(0.0, at_least=0, off=True)

    def direction(self, param: Variable, grad: Variable) -> Direction:
        return limit_norm(grad, self.global_norm, self.max_global_norm), {}


class ClipAdaptive(Rule):
    """Scale the gradient of each unit to a norm of at most clip_adaptive times the unit's own, arXiv:2102.06171.

    A unit is what feeds one output, if the outputs are along the last axis: a column of a matrix, a filter of a kernel
    (height, width, inputs, outputs). With three axes, the last two count the units, as in heads of attention. A scalar
    is one unit, and so is a tensor with one axis longer than 1.
    """

    scope = "tensor"
    needs = ("shape",)
    clip_adaptive = switch(Hyper(0.0, at_least=0, off=True), "clipping", on=0.01)
    clip_adaptive_epsilon = option(Hyper(1e-3, at_least=0), of="clip_adaptive")

    def direction(self, param: Variable, grad: Variable) -> Direction:
        axes = _unit_axes(self.shape)
        unit = pt.maximum(norm(param, axis=axes), self.clip_adaptive_epsilon)
        return limit_norm(grad, norm(grad, axis=axes), self.clip_adaptive, unit), {}


def _unit_axes(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the axes along which a unit lies; None: all."""
    if sum(n != 1 for n in shape) <= 1:
        return None
    return (0,) if len(shape) <= 3 else tuple(range(len(shape) - 1))


class GradientNoise(Rule):
    """Add normal numbers of variance gradient_noise / t**gamma, arXiv:1511.06807; after clipping, which would cut them.

    The paper counts updates from 0 and divides by (1 + t)**gamma; here t counts from 1.
    """

    gradient_noise = switch(Hyper(0.0, at_least=0, off=True), "eta", on=0.01)
    gradient_noise_gamma = option(Hyper(0.55, at_least=0), of="gradient_noise")
    gradient_noise_seed = option(Count(0, least=0), of="gradient_noise")
    # the 1 makes these numbers differ from those of a rule with the same seed
    rng = State(lambda rule, value: np.random.default_rng([rule.gradient_noise_seed, 1]), lambda rule, value: ())

    def direction(self, param: Variable, grad: Variable, rng: Variable) -> Direction:
        # Draw with the parameter's shape: with the gradient's, after centralize and clip_adaptive, PyTensor's rewrites
        # advanced the generator for the first of several parameters only.
        rng_t, noise = rng.normal(size=param.shape, dtype=grad.dtype)
        # a schedule that ends at 0 may end a rounding below it
        variance = pt.maximum(self.gradient_noise, 0) / self.t**self.gradient_noise_gamma
        return grad + pt.sqrt(variance) * noise, {"rng": rng_t}


class WeightDecay(Rule):
    """Shrink parameters: through the gradient (coupled, L2), beside the step (decoupled, independent), or after it.

    The last of these (proximal) divides the new parameter by 1 + rate * weight_decay, arXiv:2208.06677.
    """

    weight_decay = Hyper(0.0, at_least=0, off=True)
    decay = Setting("coupled", ("coupled", "decoupled", "independent", "proximal"))

    def direction(self, param: Variable, grad: Variable) -> Direction:
        shrink = self.weight_decay * (self.rate if self.decay in ("decoupled", "proximal") else 1)
        step = grad + shrink * param
        return step / (1 + shrink) if self.decay == "proximal" else step, {}


class Momentum(Rule):
    """Move on in the direction of earlier steps.

    Nesterov's variant is written at the point where the gradient is taken, eq. (7) of arXiv:1212.0901.
    """

    momentum = Hyper(0.0, at_least=0, below=1, off=True)
    nesterov = Setting(False)
    momentum_rate = Setting("inside", ("inside", "outside"))
    v = Zeros()

    def direction(self, param: Variable, step: Variable, v: Variable) -> Direction:
        v_t = self.momentum * v + step
        return self.momentum * v_t + step if self.nesterov else v_t, {"v": v_t}


class Rate(Rule):
    """Multiply a direction by the learning rate."""

    def direction(self, param: Variable, grad: Variable) -> Direction:
        return self.rate * grad, {}


class Subtract(Rule):
    """Subtract a step from the parameter: the result is the new value."""

    def direction(self, param: Variable, step: Variable) -> Direction:
        return param - step, {}


def _per_beta(init: Init = 0.0) -> State:
    return State(init, lambda rule, value: (rule.mechanic_betas,))


class Mechanic(Rule):
    """Learn the factor of the sum of all steps so far, arXiv:2306.00144, algorithm 1, as optax has it.

    The parameters stand at ``x0 - sum(s) * delta``, where delta is the sum of the incoming steps and s has one
    element for each of several memories beta.
    """

    scope = "all"
    needs = ("gradient",)
    mechanic = switch(Hyper(0.0, at_least=0, off=True), "s_init", on=1e-6)
    mechanic_decay = option(Hyper(1e-2, at_least=0), of="mechanic")
    mechanic_epsilon = option(Hyper(1e-8, above=0), of="mechanic")
    mechanic_betas = option(Count(6), of="mechanic")
    x0 = Copy()
    r, m, v, s = _per_beta(), _per_beta(), _per_beta(), _per_beta(lambda rule, value: rule.hyper["mechanic"])

    def direction(
        self, param: Variable, step: Variable, x0: Variable, r: Variable, m: Variable, v: Variable, s: Variable
    ) -> Direction:
        epsilon, grad, beta = self.mechanic_epsilon, self.gradient, 1 - 0.1 ** np.arange(1.0, self.mechanic_betas + 1)
        x0 = pt.switch(pt.eq(self.t, 1), param, x0)  # parameters may have been set since the state was made
        g = grad + self.mechanic_decay * s.sum() * norm(grad) / (norm(param) + epsilon) * param
        delta = (x0 - param) / (s.sum() + epsilon)
        h = dot(g, delta)
        m_t = pt.maximum(beta * m, pt.abs(h) + epsilon)
        v_t = beta**2 * v + h**2
        r_t = beta * r + pt.clip(h, -m, m) * s
        wealth = self.mechanic / self.mechanic_betas * m_t + pt.maximum(r_t, 0)
        s_t = wealth / (pt.sqrt(v_t) + epsilon)
        return param - x0 + s_t.sum() * (delta + step), dict(x0=x0, r=r_t, m=m_t, v=v_t, s=s_t)
