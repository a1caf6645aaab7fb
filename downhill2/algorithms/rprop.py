"""Resilient back-propagation."""

from __future__ import annotations

import pytensor.tensor as pt

from ..symbolic.algorithm import Algorithm
from ..symbolic.graph import Variable
from ..symbolic.hyper import Hyper
from ..symbolic.state import Zeros


class RProp(Algorithm):
    r"""iRprop-: a step size for each element, from the signs of its gradient alone.

    Where the gradient keeps its sign, the step grows; where it changes, the last step went over a minimum, so the
    step shrinks and this update leaves the element alone. How large the gradient is plays no part. Meant for
    full batches: noise that flips signs shrinks every step.

    .. math::
        \begin{aligned}
        \Delta_t &= \mathrm{clip}(\Delta_{t-1} \cdot \begin{cases}
            \eta^+ & g_t\, g_{t-1} > 0 \\ \eta^- & g_t\, g_{t-1} < 0 \\ 1 & \text{otherwise} \end{cases},
            \Delta_{\min}, \Delta_{\max}) \\
        g_t &\leftarrow 0 \quad \text{where}\ g_t\, g_{t-1} < 0 \\
        \theta_{t+1} &= \theta_t - \mathrm{sign}(g_t)\, \Delta_t
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        The first step, in the units of the parameter; symbol :math:`\Delta_0`. Must be at least 0. Later
        values have no effect. Default 1e-4.
    step_increase, rprop_increase : float, optional
        Factor of a step whose gradient kept its sign; symbol :math:`\eta^+`. Must be positive. Default 1.01.
    step_decrease, rprop_decrease : float, optional
        Factor of a step whose gradient changed its sign; symbol :math:`\eta^-`. Must be positive. Default 0.99.
    min_step, rprop_min_step : float, optional
        Smallest step, in the units of the parameter; at least 0. Default 0.
    max_step, rprop_max_step : float, optional
        Largest step, in the units of the parameter; at least 0. Default 100.

    Notes
    -----
    Equal to ``torch.optim.Rprop(lr=0.01, etas=(0.5, 1.2), step_sizes=(1e-6, 50))`` with ``learning_rate=0.01,
    step_increase=1.2, step_decrease=0.5, min_step=1e-6, max_step=50``. ``optax.rprop`` (0.2.8) applies the step
    of the update before, so that its first update is zero; there is no setting for that.

    References
    ----------
    .. [1] M. Riedmiller and H. Braun (1992). "Rprop: a fast adaptive learning algorithm." ISCIS VII.
    .. [2] C. Igel and M. Huesken (2000). "Improving the Rprop learning algorithm." NC 2000. Algorithm iRprop-.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("rprop", (w**2).sum(), learning_rate=0.1, step_increase=1.2, step_decrease=0.5)
    >>> train, valid = opt.minimize(max_epochs=100)
    >>> bool(train["loss"] < 1e-6)
    True
    """

    owns_rate = True
    presets = {
        "torch": dict(learning_rate=0.01, step_increase=1.2, step_decrease=0.5, min_step=1e-6, max_step=50),
        "optax": dict(step_increase=1.2, step_decrease=0.5, min_step=1e-6, max_step=50),
        "downhill": {},
    }
    step_increase = Hyper(1.01, "rprop_increase", above=0)
    step_decrease = Hyper(0.99, "rprop_decrease", above=0)
    min_step = Hyper(0.0, "rprop_min_step", at_least=0)
    max_step = Hyper(100.0, "rprop_max_step", at_least=0)
    delta, g = Zeros(), Zeros()

    def direction(
        self, param: Variable, grad: Variable, delta: Variable, g: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        delta = pt.switch(delta > 0, delta, self.rate)  # 0: no step yet
        # signs, not values: the product of two small gradients underflows to 0
        turn = pt.sign(grad) * pt.sign(g)
        factor = pt.switch(turn > 0, self.step_increase, pt.switch(turn < 0, self.step_decrease, 1))
        delta_t = pt.clip(delta * factor, self.min_step, self.max_step)
        g_t = pt.switch(turn < 0, 0, grad)
        return pt.sign(g_t) * delta_t, {"delta": delta_t, "g": g_t}
