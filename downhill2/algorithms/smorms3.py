"""A rate from how much gradients agree."""

from __future__ import annotations

import pytensor.tensor as pt

from ..symbolic.algorithm import Algorithm
from ..symbolic.declared import Hyper, with_default
from ..symbolic.graph import Variable
from ..symbolic.state import State, Zeros


class SMORMS3(Algorithm):
    r"""SMORMS3: RMSProp that sets its own rate and memory, from how much recent gradients agree.

    The squared mean of gradients over their mean square is 1 where they all agree and near 0 where they are noise. It
    bounds the rate; and where they agree memory becomes short, to follow them.

    .. math::
        \begin{aligned}
        r_t &= 1 / (1 + M_{t-1}) \\
        m_t &= (1 - r_t)\, m_{t-1} + r_t\, g_t \\
        v_t &= (1 - r_t)\, v_{t-1} + r_t\, g_t^2 \\
        x_t &= m_t^2 / (v_t + \epsilon) \\
        M_t &= 1 + M_{t-1}\, (1 - x_t), \quad M_0 = 1 \\
        \theta_t &= \theta_{t-1} - \frac{\min(\eta, x_t)}{\sqrt{v_t} + \epsilon}\, g_t
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        Largest step, in the units of the parameter; symbol :math:`\eta`. Must be at least 0. Default 0.001.
    epsilon : float, optional
        Keeps the quotients finite, in squared units of the gradient in the one and in units of it in the other; beside
        the root; symbol :math:`\epsilon`. Must be positive. Default 1e-16.

    Notes
    -----
    Equal to PuzzleLib's SMORMS3. torch, optax and Keras have none.

    References
    ----------
    .. [1] S. Funk (2015). "RMSprop loses to SMORMS3 - beware the epsilon!" sifter.org/~simon/journal/20150420.html.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("smorms3", (w**2).sum(), learning_rate=0.1)
    >>> train, valid = opt.minimize(max_epochs=100)
    >>> bool(train["loss"] < 1e-2)
    True
    """

    owns_rate = True
    learning_rate = with_default(Algorithm.learning_rate, 1e-3)
    epsilon = Hyper(1e-16, above=0)
    m, v, M = Zeros(), Zeros(), State(1.0)

    def direction(
        self, param: Variable, grad: Variable, m: Variable, v: Variable, M: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        r = 1 / (1 + M)
        m_t = (1 - r) * m + r * grad
        v_t = (1 - r) * v + r * grad**2
        x = m_t**2 / (v_t + self.epsilon)
        step = pt.minimum(self.rate, x) / (pt.sqrt(v_t) + self.epsilon) * grad
        return step, {"m": m_t, "v": v_t, "M": 1 + M * (1 - x)}
