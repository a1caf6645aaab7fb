"""Adam: momentum and adaptive rates, both corrected for their start at zero."""

from __future__ import annotations

import pytensor.tensor as pt

from ..symbolic.algorithm import Algorithm
from ..symbolic.formulas import ema
from ..symbolic.graph import Variable
from ..symbolic.hyper import Hyper, Setting
from ..symbolic.state import Zeros


class Adam(Algorithm):
    r"""Adam: the mean of recent gradients over the root of their mean square.

    Joins the ideas of momentum and RMSProp. Both averages start at zero and are too small at first, which the
    factors :math:`1 - \beta^t` correct. Intuitively, an element moves by about `learning_rate` where the gradient
    is steady, and by less where it is noise.

    .. math::
        \begin{aligned}
        m_t &= \beta_1\, m_{t-1} + (1 - \beta_1)\, g_t \\
        v_t &= \beta_2\, v_{t-1} + (1 - \beta_2)\, g_t^2 \\
        \hat m_t &= m_t / (1 - \beta_1^t) \\
        \hat v_t &= v_t / (1 - \beta_2^t) \\
        \theta_t &= \theta_{t-1} - \eta\, \hat m_t / (\sqrt{\hat v_t} + \epsilon)
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        Size of a step, in the units of the parameter; symbol :math:`\eta`. Must be at least 0. Default 1e-4.
    beta1, beta2 : float, optional
        Decay of the mean and of the mean square. Must be in [0, 1). Default 0.906 and 0.990, half-lives of 7
        and 69.
    beta1_halflife, beta2_halflife : float, optional
        Half-lives in updates, in place of the decays: ``beta1 = 2**(-1/beta1_halflife)``. Default 7 and 69.
    epsilon, rms_regularizer : float, optional
        Keeps the quotient finite, in units of the gradient; symbol :math:`\epsilon`. Must be at least 0.
        Default 1e-8.
    epsilon_at : {'outside', 'hat'}, optional
        Whether epsilon is added to the corrected root, or (``'hat'``) to the root before its correction.
        Default ``'outside'``.

    Notes
    -----
    Equal to ``torch.optim.Adam(lr)`` and ``optax.adam(learning_rate)`` with ``beta1=0.9, beta2=0.999``; with
    ``decay='decoupled'`` also to ``AdamW`` of both (weight_decay 0.01 in torch, 1e-4 in optax). Keras, BrainPy,
    Lasagne, Blocks and PuzzleLib have ``epsilon_at='hat'``, the paper's form at the end of its section 2.

    References
    ----------
    .. [1] D. P. Kingma and J. Ba (2014). "Adam: a method for stochastic optimization." arXiv:1412.6980.
       Algorithm 1.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("adam", (w**2).sum(), learning_rate=0.1)
    >>> train, valid = opt.minimize(max_epochs=300)
    >>> bool(train["loss"] < 1e-6)
    True
    """

    presets = {
        "torch": dict(learning_rate=1e-3, beta1=0.9, beta2=0.999),
        "optax": dict(beta1=0.9, beta2=0.999),
        "keras": dict(learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-7, epsilon_at="hat", decay="decoupled"),
        "downhill": {},
    }
    beta1 = Hyper(halflife=7)
    beta2 = Hyper(halflife=69)
    epsilon = Hyper(1e-8, "rms_regularizer", at_least=0)
    epsilon_at = Setting("outside", ("outside", "hat"))
    m, v = Zeros(), Zeros()

    def direction(
        self, param: Variable, grad: Variable, m: Variable, v: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        m_t = ema(self.beta1, m, grad)
        v_t = ema(self.beta2, v, grad**2)
        v_hat = v_t / (1 - self.beta2**self.t)
        return self.mean(m_t, grad) / self.denominator(v_hat), {"m": m_t, "v": v_t}

    def mean(self, m_t: Variable, grad: Variable) -> Variable:
        """Return the corrected mean."""
        return m_t / (1 - self.beta1**self.t)

    def denominator(self, v_hat: Variable) -> Variable:
        """Return the corrected root, with epsilon beside it."""
        epsilon = self.epsilon
        if self.epsilon_at == "hat":  # the paper's epsilon-hat, as it is beside the corrected root
            epsilon = epsilon / pt.sqrt(1 - self.beta2**self.t)
        return pt.sqrt(v_hat) + epsilon
