"""Rules that need no schedule: averages of the points do what a falling rate would."""

from __future__ import annotations

import pytensor.tensor as pt

from ..symbolic.algorithm import Algorithm
from ..symbolic.declared import Decay, Hyper, Setting, with_default
from ..symbolic.formulas import ema
from ..symbolic.graph import Variable
from ..symbolic.state import Copy, Number, Zeros

State = dict[str, Variable]


class ScheduleFree(Algorithm):
    r"""Schedule-Free SGD: steps from one sequence of points, gradients between it and its average.

    A falling learning rate brings noisy steps to rest, but has to know when the run will end. The average of all
    points does the same and is good at any time. Gradients are taken at a mix :math:`y` of average and last point.

    .. math::
        \begin{aligned}
        z_{t+1} &= z_t - \eta\, g(y_t) \\
        c_{t+1} &= w_t / \textstyle\sum_{i \le t} w_i, \quad w_t = (\max_{i \le t} \eta_i)^p \\
        x_{t+1} &= (1 - c_{t+1})\, x_t + c_{t+1}\, z_{t+1} \\
        y_{t+1} &= \beta\, x_{t+1} + (1 - \beta)\, z_{t+1}
        \end{aligned}

    While it runs the parameter is :math:`y`; :math:`x` is what is validated, kept as the best and put back at the end.

    Parameters
    ----------
    learning_rate : float, optional
        Size of a step relative to the gradient; symbol :math:`\eta`. Must be at least 0. Default 1.
    beta1 : float, optional
        Where between last point and average gradients are taken; symbol :math:`\beta`. Must be in (0, 1). Default 0.9.
    weight_power : float, optional
        Power of the rate in the weights of the average; symbol :math:`p`. Must be at least 0. Default 2.

    Notes
    -----
    Equal to ``optax.contrib.schedule_free_sgd(learning_rate)``, which under a schedule takes the weights' rate from one
    update later. torch and Keras have no counterpart. A warm-up of the rate is a schedule, `downhill2.schedules`.

    References
    ----------
    .. [1] A. Defazio et al. (2024). "The road less scheduled." arXiv:2405.15682. Eqs. (3) to (5).

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("schedulefree", (w**2).sum(), learning_rate=0.3)
    >>> train, valid = opt.minimize(max_epochs=100)
    >>> bool(valid["loss"] < 1e-2)
    True
    """

    owns_rate = True
    presets = {"optax": {}}
    decay = Setting("coupled", ("coupled",))
    learning_rate = with_default(Algorithm.learning_rate, 1.0)
    beta1 = Hyper(0.9, above=0, below=1)
    weight_power = Hyper(2.0, at_least=0)
    z, total, largest = Copy(follows=True), Number(), Number()

    def direction(
        self, param: Variable, grad: Variable, z: Variable, total: Variable, largest: Variable
    ) -> tuple[Variable, State]:
        return self.mixed(param, self.rate * grad, z, total, largest)

    def mixed(
        self, y: Variable, step: Variable, z: Variable, total: Variable, largest: Variable
    ) -> tuple[Variable, State]:
        """Return how far y goes when z makes a step, and the new state."""
        largest_t = pt.maximum(largest, self.rate)
        weight = largest_t**self.weight_power
        total_t = total + weight
        c = pt.switch(total_t > 0, weight / total_t, 0)
        x, z_t = self.evaluated(y, z), self.last(y, z) - step
        x_t = x + c * (z_t - x)
        y_t = x_t + (1 - self.beta1) * (z_t - x_t)
        return y - y_t, {"z": z_t, "total": total_t, "largest": largest_t}

    def evaluated(self, y: Variable, z: Variable, **state: Variable) -> Variable:
        """Return x, the average, from y, which lies between it and z."""
        return y + (1 - self.beta1) / self.beta1 * (y - self.last(y, z))

    def last(self, y: Variable, z: Variable) -> Variable:
        """Return z: at the start it is y, which may have been set since the state was made."""
        return pt.switch(pt.eq(self.t, 1), y, z)


class ScheduleFreeAdamW(ScheduleFree):
    r"""Schedule-Free AdamW: Schedule-Free steps in proportion to Adam's root mean square.

    .. math::
        \begin{aligned}
        v_t &= \beta_2\, v_{t-1} + (1 - \beta_2)\, g(y_t)^2 \\
        z_{t+1} &= z_t - \eta \left( \frac{g(y_t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon} + \lambda\, y_t \right)
        \end{aligned}

    and the average as in `ScheduleFree`.

    Parameters
    ----------
    learning_rate : float, optional
        Size of a step, in the units of the parameter; symbol :math:`\eta`. Must be at least 0. Default 0.0025.
    beta1, weight_power
        As for `ScheduleFree`.
    beta2 : float, optional
        Decay of the mean square; symbol :math:`\beta_2`. Must be in [0, 1). Default 0.999.
    beta2_halflife : float, optional
        Its half-life in updates, in place of `beta2`.
    epsilon : float, optional
        Keeps the quotient finite, in units of the gradient, outside the root; must be at least 0. Default 1e-8.
    weight_decay : float, optional
        Strength of the decay, part of the equation; symbol :math:`\lambda`. Must be at least 0. Default 0.

    Notes
    -----
    Equal to ``optax.contrib.schedule_free_adamw(learning_rate)``, but for the weights under a schedule, as for
    `ScheduleFree`; with ``weight_power=0`` to Keras' ScheduleFreeAdamW without weight decay, which there moves y alone.
    torch has no counterpart.

    References
    ----------
    .. [1] A. Defazio et al. (2024). "The road less scheduled." arXiv:2405.15682. Algorithm 1, with the correction of
       the start in the root instead of in the rate.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("schedulefreeadamw", (w**2).sum(), learning_rate=0.3)
    >>> train, valid = opt.minimize(max_epochs=300)
    >>> bool(valid["loss"] < 1e-2)
    True
    """

    own_decay = True
    presets = {"optax": {}, "keras": {"weight_power": 0.0}}
    learning_rate = with_default(Algorithm.learning_rate, 0.0025)
    decay = Setting("decoupled", ("decoupled",))
    beta2 = Decay(0.999)
    epsilon = Hyper(1e-8, at_least=0)
    v = Zeros()

    def direction(  # type: ignore[override]  # it has one state more
        self, param: Variable, grad: Variable, z: Variable, total: Variable, largest: Variable, v: Variable
    ) -> tuple[Variable, State]:
        v_t = ema(self.beta2, v, grad**2)
        d = grad / (pt.sqrt(v_t / (1 - self.beta2**self.t)) + self.epsilon)
        step = self.rate * (d + self.weight_decay * param)
        moved, state = self.mixed(param, step, z, total, largest)
        return moved, {**state, "v": v_t}
