"""ADADELTA: steps in the units of the parameter."""

from __future__ import annotations

from ..symbolic.algorithm import Algorithm
from ..symbolic.formulas import ema, root
from ..symbolic.graph import Variable
from ..symbolic.hyper import Hyper
from ..symbolic.state import Zeros


class ADADELTA(Algorithm):
    r"""ADADELTA: scale gradients by the recent size of steps over the recent size of gradients.

    Like RMSProp it divides by a moving root mean square of the gradient; it also multiplies by that of its own
    earlier steps, so that the step has the units of the parameter and needs no rate.

    .. math::
        \begin{aligned}
        G_{t+1} &= \rho\, G_t + (1 - \rho)\, g_t^2 \\
        \Delta_t &= \frac{\sqrt{X_t + \epsilon}}{\sqrt{G_{t+1} + \epsilon}}\, g_t \\
        X_{t+1} &= \rho\, X_t + (1 - \rho)\, \Delta_t^2 \\
        \theta_{t+1} &= \theta_t - \eta\, \Delta_t
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        Factor of the step, dimensionless; symbol :math:`\eta`. Must be at least 0. Default 1.
    rho : float, optional
        Decay of the averages; symbol :math:`\rho`. Must be in [0, 1). Default 0.952, a half-life of 14.
    rms_halflife : float, optional
        Half-life of the averages in updates, in place of `rho`: ``rho = 2**(-1/rms_halflife)``. Default 14.
    epsilon, rms_regularizer : float, optional
        Starts the steps and keeps the quotient finite; inside both roots, in squared units of what it is added
        to. Symbol :math:`\epsilon`. Must be at least 0; 0 never starts. Default 1e-8.

    Notes
    -----
    Equal to ``torch.optim.Adadelta()`` and ``optax.adadelta(1.0)`` with ``rho=0.9, epsilon=1e-6``; to Lasagne's
    and PuzzleLib's with ``rho=0.95, epsilon=1e-6``; to Keras' with ``learning_rate=0.001, rho=0.95,
    epsilon=1e-7``. The average of squared steps takes them before `learning_rate`.

    References
    ----------
    .. [1] M. D. Zeiler (2012). "ADADELTA: an adaptive learning rate method." arXiv:1212.5701. Algorithm 1.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("adadelta", (w**2).sum(), rho=0.9, epsilon=1e-4)
    >>> train, valid = opt.minimize(max_epochs=300)
    >>> bool(train["loss"] < 0.01)
    True
    """

    presets = {
        "torch": dict(rho=0.9, epsilon=1e-6),
        "optax": dict(rho=0.9, epsilon=1e-6),
        "keras": dict(learning_rate=1e-3, rho=0.95, epsilon=1e-7, decay="decoupled"),
        "downhill": {},
    }
    learning_rate = Hyper(1.0, at_least=0)
    rho = Hyper(halflife=14, keyword="rms_halflife")
    epsilon = Hyper(1e-8, "rms_regularizer", at_least=0)
    g2, x2 = Zeros(), Zeros()

    @property
    def ewma(self) -> Variable:
        """The decay `rho`, by its name in downhill."""
        return self.rho

    def direction(
        self, param: Variable, grad: Variable, g2: Variable, x2: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        g2_t = ema(self.rho, g2, grad**2)
        dx = grad * root(x2, self.epsilon) / root(g2_t, self.epsilon)
        return dx, {"g2": g2_t, "x2": ema(self.rho, x2, dx**2)}
