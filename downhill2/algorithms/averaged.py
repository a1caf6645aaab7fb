"""Averages of where gradients lead: of points, and of gradients from the start."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt

from ..symbolic.algorithm import Algorithm
from ..symbolic.declared import Decay, Hyper, with_default
from ..symbolic.graph import Variable
from ..symbolic.state import Copy, Zeros


class ASGD(Algorithm):
    r"""ASGD: gradient descent, of whose points the average counts.

    Gradient descent with noisy gradients dances around the minimum; the average of its points stands still, and
    comes as near as second-order methods do. Steps may then be long: their rate falls slower than 1/t. Training goes
    on at the point itself; the average is what is validated, kept and returned.

    .. math::
        \begin{aligned}
        \eta_t &= \eta\, (1 + \lambda\, \eta\, (t - 1))^{-\alpha} \\
        \theta_t &= \theta_{t-1} - \eta_t\, (g_t + \lambda\, \theta_{t-1}) \\
        \bar\theta_t &= \bar\theta_{t-1} + (\theta_t - \bar\theta_{t-1}) / \max(1, t - 1 - t_0)
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        Size of the first step relative to the gradient, in squared units of the parameter per unit of loss; symbol
        :math:`\eta`. Must be at least 0. Default 0.01.
    lambd : float, optional
        Strength of a decay of parameters, and pace at which the rate falls; symbol :math:`\lambda`. Must be at least
        0. Default 1e-4.
    alpha : float, optional
        Power with which the rate falls, dimensionless; symbol :math:`\alpha`. Must be at least 0. Default 0.75.
    t0 : float, optional
        Updates before the average begins; until then it is the latest point. Symbol :math:`t_0`. Must be at least 0.
        Default 0: from the second update on.

    Notes
    -----
    Equal to ``torch.optim.ASGD(lr)`` with ``t0=1e6``, after which few runs are still on; torch leaves it to the caller
    to use its average, ``ax``. optax and Keras have none. No epsilon.

    References
    ----------
    .. [1] B. T. Polyak and A. B. Juditsky (1992). "Acceleration of stochastic approximation by averaging." SIAM
       Journal on Control and Optimization 30(4).
    .. [2] W. Xu (2011). "Towards optimal one pass large scale learning with averaged stochastic gradient descent."
       arXiv:1107.2490. Eq. (4), (5).

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("asgd", (w**2).sum(), learning_rate=0.1, t0=20)
    >>> train, valid = opt.minimize(max_epochs=100)
    >>> bool(valid["loss"] < 1e-3)
    True
    """

    presets = {"torch": {"t0": 1e6}}
    owns_rate = True
    learning_rate = with_default(Algorithm.learning_rate, 0.01)
    lambd = Hyper(1e-4, at_least=0)
    alpha = Hyper(0.75, at_least=0)
    t0 = Hyper(0.0, at_least=0)
    mean = Copy(follows=True)

    def direction(self, param: Variable, grad: Variable, mean: Variable) -> tuple[Variable, dict[str, Variable]]:
        eta = self.rate / (1 + self.lambd * self.rate * (self.t - 1)) ** self.alpha
        return eta * (grad + self.lambd * param), {"mean": self.evaluated(param, mean)}

    def evaluated(self, param: Variable, mean: Variable) -> Variable:
        """Return the average with the present point in it; `mean` has those before."""
        return mean + (param - mean) / pt.maximum(1, self.t - 2 - self.t0)


class MADGRAD(Algorithm):
    r"""MADGRAD: a step from the start against the sum of all gradients, over the cube root of that of their squares.

    Dual averaging forgets no gradient: each counts with a weight that grows, and the parameter is where all of them
    together lead from the start. A cube root in place of ADAGRAD's square root fits these weights. The parameter
    follows that point with momentum.

    .. math::
        \begin{aligned}
        \lambda_t &= (\eta + \epsilon) \sqrt t \\
        s_t &= s_{t-1} + \lambda_t\, g_t \\
        v_t &= v_{t-1} + \lambda_t\, g_t^2 \\
        z_t &= \theta_0 - s_t / (\sqrt[3]{v_t} + \epsilon) \\
        \theta_t &= \beta\, \theta_{t-1} + (1 - \beta)\, z_t
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        Scale of steps; not comparable to that of SGD or Adam; symbol :math:`\eta`. Must be at least 0. Default 0.01.
    beta : float, optional
        What remains of the present point, the momentum of the paper's code; symbol :math:`\beta`. Must be in [0, 1).
        Default 0.9.
    beta_halflife : float, optional
        Half-life in updates, in place of `beta`.
    epsilon : float, optional
        Keeps the quotient finite; beside the cube root, and beside the rate; symbol :math:`\epsilon`. Must be at
        least 0. Default 1e-6.

    Notes
    -----
    Equal to ``optax.contrib.madgrad(learning_rate)`` and to the authors' code, whose ``momentum`` is `beta`. torch and
    Keras have none. The start is remembered: whoever sets parameters in the course of a run calls ``opt.reset()``.

    References
    ----------
    .. [1] A. Defazio and S. Jelassi (2021). "Adaptivity without compromise: a momentumized, adaptive, dual averaged
       gradient method for stochastic optimization." arXiv:2101.11075. Algorithm 1.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("madgrad", (w**2).sum(), learning_rate=0.1)
    >>> train, valid = opt.minimize(max_epochs=200)
    >>> bool(train["loss"] < 1e-3)
    True
    """

    presets = {"optax": {}}
    owns_rate = True
    learning_rate = with_default(Algorithm.learning_rate, 0.01)
    beta = Decay(0.9)
    epsilon = Hyper(1e-6, at_least=0)
    s, v, x0 = Zeros(), Zeros(), Copy()

    def direction(
        self, param: Variable, grad: Variable, s: Variable, v: Variable, x0: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        x0 = pt.switch(pt.eq(self.t, 1), param, x0)  # parameters may have been set since the state was made
        weight = (self.rate + self.epsilon) * pt.sqrt(self.t)
        s_t = s + weight * grad
        v_t = v + weight * grad**2
        third = np.float64(1 / 3)  # PyTensor makes a plain 1 / 3 float32 if its floatX is float32
        z = x0 - s_t / (v_t**third + self.epsilon)
        return (1 - self.beta) * (param - z), {"s": s_t, "v": v_t, "x0": x0}
