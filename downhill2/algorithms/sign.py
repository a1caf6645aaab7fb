"""Steps of one size, by signs."""

from __future__ import annotations

import pytensor.tensor as pt

from ..symbolic.algorithm import Algorithm
from ..symbolic.declared import Decay, with_default
from ..symbolic.formulas import ema
from ..symbolic.graph import Variable
from ..symbolic.state import Zeros
from ..symbolic.transforms import WeightDecay


class SignSGD(Algorithm):
    r"""SignSGD: every element moves by the learning rate, against the sign of its gradient.

    How large a gradient is says little when it is noisy; its sign is one bit, cheap to send between machines. All
    elements take steps of the same size, and only a falling rate brings them to rest.

    .. math::
        \theta_{t+1} = \theta_t - \eta\, \mathrm{sign}(g_t)

    Parameters
    ----------
    learning_rate : float, optional
        Size of every step, in the units of the parameter; symbol :math:`\eta`. Must be at least 0. Default 1e-4.

    Notes
    -----
    Equal to ``optax.sign_sgd(learning_rate)``. No epsilon: the sign of 0 is 0. torch has no counterpart.

    References
    ----------
    .. [1] J. Bernstein, Y.-X. Wang, K. Azizzadenesheli and A. Anandkumar (2018). "signSGD: compressed optimisation
       for non-convex problems." arXiv:1802.04434. Algorithm 1.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("signsgd", (w**2).sum(), learning_rate=0.1)
    >>> train, valid = opt.minimize(max_epochs=100)
    >>> bool(train["loss"] < 0.02)
    True
    """

    presets = {"optax": {}}

    def direction(self, param: Variable, grad: Variable) -> tuple[Variable, dict[str, Variable]]:
        return pt.sign(grad), {}


class Signum(Algorithm):
    r"""Signum: SignSGD with the sign of a moving average of gradients.

    Averaged over some updates, a sign is less often wrong.

    .. math::
        \begin{aligned}
        m_{t+1} &= \beta\, m_t + (1 - \beta)\, g_t \\
        \theta_{t+1} &= \theta_t - \eta\, \mathrm{sign}(m_{t+1})
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        Size of every step, in the units of the parameter; symbol :math:`\eta`. Must be at least 0. Default 1e-4.
    beta : float, optional
        Decay of the average; symbol :math:`\beta`. Must be in [0, 1). Default 0.9.
    beta_halflife : float, optional
        Half-life of the average in updates, in place of `beta`.

    Notes
    -----
    Equal to ``optax.signum(learning_rate, beta)``. The average needs no correction for its start at zero, which
    changes no sign; no epsilon. torch has no counterpart.

    References
    ----------
    .. [1] J. Bernstein, Y.-X. Wang, K. Azizzadenesheli and A. Anandkumar (2018). "signSGD: compressed optimisation
       for non-convex problems." arXiv:1802.04434. Algorithm 2.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("signum", (w**2).sum(), learning_rate=0.1, beta=0.5)
    >>> train, valid = opt.minimize(max_epochs=100)
    >>> bool(train["loss"] < 0.1)
    True
    """

    presets = {"optax": {}}
    beta = Decay(0.9)
    m = Zeros()

    def direction(self, param: Variable, grad: Variable, m: Variable) -> tuple[Variable, dict[str, Variable]]:
        m_t = ema(self.beta, m, grad)
        return pt.sign(m_t), {"m": m_t}


class Lion(Algorithm):
    r"""Lion: the sign of a mix of the gradient and of a slower average of gradients.

    Found by a search over programs. It is Signum in which the present gradient weighs more in the step than in what
    is remembered. Since every step has full size, its rate should be 3 to 10 times smaller than Adam's and its decay
    as much stronger.

    .. math::
        \begin{aligned}
        c_t &= \beta_1\, m_t + (1 - \beta_1)\, g_t \\
        \theta_{t+1} &= \theta_t - \eta\, \mathrm{sign}(c_t) \\
        m_{t+1} &= \beta_2\, m_t + (1 - \beta_2)\, g_t
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        Size of every step, in the units of the parameter; symbol :math:`\eta`. Must be at least 0. Default 1e-4.
    beta1 : float, optional
        Weight of what is remembered in the step; symbol :math:`\beta_1`. Must be in [0, 1). Default 0.9.
    beta2 : float, optional
        Decay of the average; symbol :math:`\beta_2`. Must be in [0, 1). Default 0.99.
    beta1_halflife, beta2_halflife : float, optional
        Half-lives in updates, in place of `beta1` and `beta2`.
    decay : {'decoupled', 'coupled', 'independent'}, optional
        As for `Optimizer`, but ``'decoupled'`` by default, as in the paper. No decay unless `weight_decay` is given.

    Notes
    -----
    Equal to ``optax.lion(learning_rate, weight_decay)``, whose `weight_decay` is 1e-3 by default, and to Keras' Lion.
    No epsilon. torch has no counterpart.

    References
    ----------
    .. [1] X. Chen et al. (2023). "Symbolic discovery of optimization algorithms." arXiv:2302.06675. Algorithm 2.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("lion", (w**2).sum(), learning_rate=0.1, beta1=0.5, beta2=0.5)
    >>> train, valid = opt.minimize(max_epochs=100)
    >>> bool(train["loss"] < 0.1)
    True
    """

    presets = {
        "optax": {"weight_decay": 1e-3},
        "keras": {"learning_rate": 1e-3},
    }
    decay = with_default(WeightDecay.decay, "decoupled")
    beta1 = Decay(0.9)
    beta2 = Decay(0.99)
    m = Zeros()

    def direction(self, param: Variable, grad: Variable, m: Variable) -> tuple[Variable, dict[str, Variable]]:
        c = ema(self.beta1, m, grad)
        return pt.sign(c), {"m": ema(self.beta2, m, grad)}
