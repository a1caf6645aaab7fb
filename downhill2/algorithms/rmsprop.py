"""RMSProp: rates from the recent size of gradients."""

from __future__ import annotations

from ..symbolic.algorithm import Algorithm
from ..symbolic.formulas import ema, root
from ..symbolic.graph import Variable
from ..symbolic.hyper import Hyper, Setting
from ..symbolic.state import Zeros


class RMSProp(Algorithm):
    r"""RMSProp: divide the gradient by its recent root mean square, or its recent standard deviation.

    The size of gradients differs between elements and changes in the course of a run; divided by a moving average
    of their size, all elements take steps of about `learning_rate`. Graves' variant, the default here, divides by
    the standard deviation, so that steps grow where the gradient is steady.

    .. math::
        \begin{aligned}
        s_{t+1} &= \rho\, s_t + \rho\,(1 - \rho)\,(g_t - m_t)^2 \\
        m_{t+1} &= \rho\, m_t + (1 - \rho)\, g_t \\
        \theta_{t+1} &= \theta_t - \eta\, \frac{g_t}{\sqrt{s_{t+1} + \epsilon}}
        \end{aligned}

    or, with ``centered=False``,

    .. math::
        \begin{aligned}
        s_{t+1} &= \rho\, s_t + (1 - \rho)\, g_t^2 \\
        \theta_{t+1} &= \theta_t - \eta\, \frac{g_t}{\sqrt{s_{t+1} + \epsilon}}
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        Size of a step, in the units of the parameter; symbol :math:`\eta`. Must be at least 0. Default 1e-4.
    rho : float, optional
        Decay of the averages; symbol :math:`\rho`. Must be in [0, 1). Default 0.952, a half-life of 14.
    rms_halflife : float, optional
        Half-life of the averages in updates, in place of `rho`: ``rho = 2**(-1/rms_halflife)``. Default 14.
    epsilon, rms_regularizer : float, optional
        Keeps the quotient finite, in squared units of the gradient; symbol :math:`\epsilon`. Must be at least 0.
        Default 1e-8.
    epsilon_at : {'inside', 'outside'}, optional
        Whether epsilon is added under the root, or to it (in units of the gradient then). Default ``'inside'``.
    centered : bool, optional
        Whether to divide by the standard deviation (Graves) rather than the root mean square. Default True.

    Notes
    -----
    :math:`s` of the centred form is the variance :math:`E[g^2] - E[g]^2` of Graves' equations, kept as such: the
    difference of the two averages cancels to less than zero in float32 when gradients are steady.

    Equal to ``torch.optim.RMSprop(lr, alpha, eps, centered)`` with ``rho=alpha, epsilon_at='outside'``; to
    ``optax.rmsprop(learning_rate, decay, eps, centered)`` and Keras' with ``rho=decay``. With momentum, torch has
    ``momentum_rate='outside'``, optax and Keras ``'inside'``.

    References
    ----------
    .. [1] T. Tieleman and G. E. Hinton (2012). "Lecture 6.5: rmsprop." Coursera, Neural networks for machine
       learning.
    .. [2] A. Graves (2013). "Generating sequences with recurrent neural networks." arXiv:1308.0850, eq. (38)-(45).

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("rmsprop", (w**2).sum(), learning_rate=0.1, centered=False)
    >>> train, valid = opt.minimize(max_epochs=100)
    >>> bool(train["loss"] < 0.1)
    True
    """

    presets = {
        "torch": dict(learning_rate=0.01, rho=0.99, centered=False, epsilon_at="outside", momentum_rate="outside"),
        "optax": dict(rho=0.9, centered=False),
        "keras": dict(learning_rate=1e-3, rho=0.9, epsilon=1e-7, centered=False, decay="decoupled"),
        "downhill": {},
    }
    rho = Hyper(halflife=14, keyword="rms_halflife")
    epsilon = Hyper(1e-8, "rms_regularizer", at_least=0)
    epsilon_at = Setting("inside", ("inside", "outside"))
    centered = Setting(True)
    m = Zeros(when=lambda rule: rule.centered)
    s = Zeros()

    @property
    def ewma(self) -> Variable:
        """The decay `rho`, by its name in downhill."""
        return self.rho

    def direction(
        self, param: Variable, grad: Variable, s: Variable, m: Variable = None
    ) -> tuple[Variable, dict[str, Variable]]:
        if self.centered:
            # E[g^2] - E[g]^2 by recursion, as a sum of squares: the difference itself would cancel
            s_t = self.rho * s + self.rho * (1 - self.rho) * (grad - m) ** 2
            new = {"s": s_t, "m": ema(self.rho, m, grad)}
        else:
            s_t = ema(self.rho, s, grad**2)
            new = {"s": s_t}
        return grad / root(s_t, self.epsilon, self.epsilon_at), new
