"""Adam with another norm: the largest gradient in place of the root mean square."""

from __future__ import annotations

import pytensor.tensor as pt

from ..symbolic.algorithm import Algorithm
from ..symbolic.declared import Setting
from ..symbolic.formulas import ema
from ..symbolic.graph import Variable
from ..symbolic.state import Zeros
from .adam import Adam
from .adam_variants import KERAS, AdamW


class Adamax(Algorithm):
    r"""Adamax: the mean of recent gradients over the largest of them.

    Adam divides by a norm of recent gradients that weighs them by their squares. The limit of ever higher powers is a
    maximum that fades: simple, and never zero after the first gradient, so it needs no correction.

    .. math::
        \begin{aligned}
        m_t &= \beta_1\, m_{t-1} + (1 - \beta_1)\, g_t \\
        u_t &= \max(\beta_2\, u_{t-1}, |g_t|) \\
        \theta_t &= \theta_{t-1} - \frac{\eta}{1 - \beta_1^t}\, \frac{m_t}{u_t + \epsilon}
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        Size of a step, in the units of the parameter; symbol :math:`\eta`. Must be at least 0. Default 1e-4.
    beta1, beta2 : float, optional
        Decay of the mean and of the maximum. Must be in [0, 1). Default 0.906 and 0.990, half-lives of 7 and 69.
    beta1_halflife, beta2_halflife : float, optional
        Half-lives in updates, in place of the decays. Default 7 and 69.
    epsilon, rms_regularizer : float, optional
        Keeps the quotient finite, in units of the gradient; symbol :math:`\epsilon`. Must be at least 0.
        Default 1e-8.
    epsilon_at : {'outside', 'inside'}, optional
        Whether epsilon is added to the maximum, or (``'inside'``) to the gradient of which it is taken:
        :math:`u_t = \max(\beta_2\, u_{t-1}, |g_t| + \epsilon)`. Default ``'outside'``.

    Notes
    -----
    With ``beta1=0.9, beta2=0.999, epsilon_at='inside'`` equal to ``torch.optim.Adamax(lr)``, whose default rate is
    0.002, and ``optax.adamax(learning_rate)``; with ``epsilon_at='outside'`` to Lasagne's, and with ``epsilon=1e-7``
    to Keras'. The paper has no epsilon.

    References
    ----------
    .. [1] D. P. Kingma and J. Ba (2014). "Adam: a method for stochastic optimization." arXiv:1412.6980.
       Algorithm 2.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("adamax", (w**2).sum(), learning_rate=0.1)
    >>> train, valid = opt.minimize(max_epochs=300)
    >>> bool(train["loss"] < 1e-4)
    True
    """

    presets = {
        "torch": {"learning_rate": 2e-3, "beta1": 0.9, "beta2": 0.999, "epsilon_at": "inside"},
        "optax": {"beta1": 0.9, "beta2": 0.999, "epsilon_at": "inside"},
        "keras": KERAS,
    }
    beta1, beta2, epsilon = Adam.beta1, Adam.beta2, Adam.epsilon
    epsilon_at = Setting("outside", ("outside", "inside"))
    m, u = Zeros(), Zeros()

    def direction(
        self, param: Variable, grad: Variable, m: Variable, u: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        m_t = ema(self.beta1, m, grad)
        inside, outside = (self.epsilon, 0) if self.epsilon_at == "inside" else (0, self.epsilon)
        u_t = pt.maximum(self.beta2 * u, abs(grad) + inside)
        return m_t / (1 - self.beta1**self.t) / (u_t + outside), {"m": m_t, "u": u_t}


class AdamaxW(Adamax):
    r"""AdamaxW: Adamax with weight decay beside the step, not in the gradient.

    .. math::
        \theta_t = \theta_{t-1} - \frac{\eta}{1 - \beta_1^t}\, \frac{m_t}{u_t + \epsilon}
            - \eta\, \lambda\, \theta_{t-1}

    with :math:`m_t` and :math:`u_t` as for `Adamax`.

    Parameters
    ----------
    learning_rate, beta1, beta2, beta1_halflife, beta2_halflife, epsilon, epsilon_at
        As for `Adamax`.
    weight_decay : float, optional
        As for `AdamW`; symbol :math:`\lambda`. Must be at least 0. Default 0.01.
    decay : {'decoupled', 'coupled', 'independent', 'proximal'}, optional
        As for `Optimizer`, but ``'decoupled'`` by default.

    Notes
    -----
    With ``beta1=0.9, beta2=0.999, epsilon_at='inside', weight_decay=1e-4`` equal to
    ``optax.adamaxw(learning_rate)``. torch and Keras have none of this name.

    References
    ----------
    .. [1] D. P. Kingma and J. Ba (2014). "Adam: a method for stochastic optimization." arXiv:1412.6980.
       Algorithm 2.
    .. [2] I. Loshchilov and F. Hutter (2017). "Decoupled weight decay regularization." arXiv:1711.05101.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("adamaxw", (w**2).sum(), learning_rate=0.1)
    >>> train, valid = opt.minimize(max_epochs=300)
    >>> bool(train["loss"] < 1e-4)
    True
    """

    presets = {"optax": {**Adamax.presets["optax"], "weight_decay": 1e-4}}
    weight_decay = AdamW.weight_decay
    decay = AdamW.decay
