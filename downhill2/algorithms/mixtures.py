"""Means of gradients put together: with their differences, or of two speeds."""

from __future__ import annotations

import pytensor.tensor as pt

from ..symbolic.algorithm import Algorithm
from ..symbolic.declared import Decay, Hyper, Setting, with_default
from ..symbolic.formulas import ema
from ..symbolic.graph import Variable
from ..symbolic.state import Zeros
from ..symbolic.transforms import WeightDecay


class Adan(Algorithm):
    r"""Adan: Adam with Nesterov's momentum, estimated from the differences of gradients.

    Nesterov's method takes the gradient a little ahead. How the gradient will change ahead can be seen from how it
    has changed, so a mean of differences is added to the mean of gradients, and no second gradient is needed.

    .. math::
        \begin{aligned}
        d_t &= g_t - g_{t-1}, \quad d_1 = 0 \\
        m_t &= \beta_1\, m_{t-1} + (1 - \beta_1)\, g_t \\
        v_t &= \beta_2\, v_{t-1} + (1 - \beta_2)\, d_t \\
        n_t &= \beta_3\, n_{t-1} + (1 - \beta_3)\, (g_t + \beta_2\, d_t)^2 \\
        u_t &= \frac{m_t / (1 - \beta_1^t) + \beta_2\, v_t / (1 - \beta_2^t)}
            {\sqrt{n_t / (1 - \beta_3^t) + \epsilon_r} + \epsilon} \\
        \theta_t &= (\theta_{t-1} - \eta\, u_t) / (1 + \eta\, \lambda)
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        Size of a step, in the units of the parameter; symbol :math:`\eta`. Must be at least 0. Default 1e-3.
    beta1, beta2, beta3 : float, optional
        Decay of the mean of gradients, of that of differences, and of the mean square. Must be in [0, 1). Default
        0.98, 0.92 and 0.99.
    beta1_halflife, beta2_halflife, beta3_halflife : float, optional
        Half-lives in updates, in place of the decays.
    epsilon : float, optional
        Keeps the quotient finite, in units of the gradient; beside the root; symbol :math:`\epsilon`. Must be at
        least 0. Default 1e-8.
    epsilon_root : float, optional
        The same under the root, in squared units of the gradient; symbol :math:`\epsilon_r`. Must be at least 0.
        Default 0.
    form : {'paper', 'optax'}, optional
        What differences are weighted by, :math:`\beta_2` or ``'optax'``: :math:`1 - \beta_2`. Default ``'paper'``.
    weight_decay : float, optional
        As for `Optimizer`; symbol :math:`\lambda`. Default 0; the paper recommends 0.02.
    decay : {'proximal', 'decoupled', 'coupled', 'independent'}, optional
        As for `Optimizer`, but ``'proximal'`` by default, as in the paper.

    Notes
    -----
    The paper's betas are one minus these. Equal to BrainPy's Adan with ``weight_decay=0.02``, and to its
    ``no_prox=True`` with ``decay='decoupled'``. ``optax.adan`` (0.2.8) takes the decays for the paper's betas where it
    weights differences, so that they count little; ``form='optax', epsilon_root=1e-8, decay='decoupled'`` equals it.

    References
    ----------
    .. [1] X. Xie, P. Zhou, H. Li, Z. Lin and S. Yan (2022). "Adan: adaptive Nesterov momentum algorithm for faster
       optimizing deep models." arXiv:2208.06677. Algorithm 1.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("adan", (w**2).sum(), learning_rate=0.1, beta1=0.9)
    >>> train, valid = opt.minimize(max_epochs=300)
    >>> bool(train["loss"] < 1e-3)
    True
    """

    presets = {"optax": {"form": "optax", "epsilon_root": 1e-8, "decay": "decoupled"}}
    learning_rate = with_default(Algorithm.learning_rate, 1e-3)
    decay = with_default(WeightDecay.decay, "proximal")
    beta1, beta2, beta3 = Decay(0.98), Decay(0.92), Decay(0.99)
    epsilon = Hyper(1e-8, at_least=0)
    epsilon_root = Hyper(0.0, at_least=0)
    form = Setting("paper", ("paper", "optax"))
    m, v, n, g = Zeros(), Zeros(), Zeros(), Zeros()

    def direction(
        self, param: Variable, grad: Variable, m: Variable, v: Variable, n: Variable, g: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        d = pt.switch(self.t > 1, grad - g, 0)
        weight = self.beta2 if self.form == "paper" else 1 - self.beta2
        m_t = ema(self.beta1, m, grad)
        v_t = ema(self.beta2, v, d)
        n_t = ema(self.beta3, n, (grad + weight * d) ** 2)
        mean = m_t / (1 - self.beta1**self.t) + weight * v_t / (1 - self.beta2**self.t)
        n_hat = n_t / (1 - self.beta3**self.t)
        u = mean / (pt.sqrt(n_hat + self.epsilon_root) + self.epsilon)
        return u, {"m": m_t, "v": v_t, "n": n_t, "g": grad}


class AdEMAMix(Algorithm):
    r"""AdEMAMix: Adam that also moves by a mean of very old gradients.

    One moving mean cannot be quick and remember long. With two, the quick one follows the landscape and the slow one
    adds up what thousands of updates agree on. It gets no correction for its start at zero, so that it comes in
    slowly.

    .. math::
        \begin{aligned}
        m_t &= \beta_1\, m_{t-1} + (1 - \beta_1)\, g_t \\
        s_t &= \beta_3\, s_{t-1} + (1 - \beta_3)\, g_t \\
        v_t &= \beta_2\, v_{t-1} + (1 - \beta_2)\, g_t^2 \\
        \hat m_t &= m_t / (1 - \beta_1^t) \\
        \hat v_t &= v_t / (1 - \beta_2^t) \\
        \theta_t &= \theta_{t-1} - \eta\, (\hat m_t + \alpha\, s_t) / (\sqrt{\hat v_t} + \epsilon)
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        Size of a step of the quick mean alone, in the units of the parameter; symbol :math:`\eta`. Must be at least 0.
        Default 1e-4.
    beta1, beta2, beta3 : float, optional
        Decay of the quick mean, of the mean square and of the slow mean. Must be in [0, 1). Default 0.9, 0.999 and
        0.9999.
    beta1_halflife, beta2_halflife, beta3_halflife : float, optional
        Half-lives in updates, in place of the decays.
    alpha : float, optional
        Weight of the slow mean beside the quick one, dimensionless; symbol :math:`\alpha`. Must be at least 0.
        Default 5.
    epsilon : float, optional
        Keeps the quotient finite, in units of the gradient; beside the root; symbol :math:`\epsilon`. Must be at
        least 0. Default 1e-8.
    decay : {'decoupled', 'coupled', 'independent', 'proximal'}, optional
        As for `Optimizer`, but ``'decoupled'`` by default, as in the paper. No decay unless `weight_decay` is given.

    Notes
    -----
    Equal to ``optax.contrib.ademamix(learning_rate)``. The paper lets `alpha` and `beta3` grow at first: give schedules
    for them. torch and Keras have none.

    References
    ----------
    .. [1] M. Pagliardini, P. Ablin and D. Grangier (2024). "The AdEMAMix optimizer: better, faster, older."
       arXiv:2409.03137. Algorithm 1.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("ademamix", (w**2).sum(), learning_rate=0.1, beta3=0.99)
    >>> train, valid = opt.minimize(max_epochs=300)
    >>> bool(train["loss"] < 1e-2)
    True
    """

    presets = {"optax": {}}
    decay = with_default(WeightDecay.decay, "decoupled")
    beta1, beta2, beta3 = Decay(0.9), Decay(0.999), Decay(0.9999)
    alpha = Hyper(5.0, at_least=0)
    epsilon = Hyper(1e-8, at_least=0)
    m, s, v = Zeros(), Zeros(), Zeros()

    def direction(
        self, param: Variable, grad: Variable, m: Variable, s: Variable, v: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        m_t = ema(self.beta1, m, grad)
        s_t = ema(self.beta3, s, grad)
        v_t = ema(self.beta2, v, grad**2)
        m_hat = m_t / (1 - self.beta1**self.t)
        v_hat = v_t / (1 - self.beta2**self.t)
        return (m_hat + self.alpha * s_t) / (pt.sqrt(v_hat) + self.epsilon), {"m": m_t, "s": s_t, "v": v_t}


class SimplifiedAdEMAMix(Algorithm):
    r"""Simplified AdEMAMix: AdEMAMix whose quick mean is the gradient itself.

    One average less to keep. What is remembered is a sum, as in heavy-ball momentum, so its weight grows with the
    memory; the gradient of the present is added with a weight of its own.

    .. math::
        \begin{aligned}
        m_t &= \beta_1\, m_{t-1} + g_t \\
        v_t &= \beta_2\, v_{t-1} + (1 - \beta_2)\, g_t^2 \\
        \hat v_t &= v_t / (1 - \beta_2^t) \\
        \theta_t &= \theta_{t-1} - \eta\, (m_t + \alpha\, g_t) / (\sqrt{\hat v_t} + \epsilon)
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        Size of the step that one gradient makes, in the units of the parameter; symbol :math:`\eta`. Steps become
        :math:`1 / (1 - \beta_1)` times as long. Must be at least 0. Default 1e-4.
    beta1, beta2 : float, optional
        Decay of the sum and of the mean square. Must be in [0, 1). Default 0.99 and 0.95.
    beta1_halflife, beta2_halflife : float, optional
        Half-lives in updates, in place of the decays.
    alpha : float, optional
        Weight of the present gradient, dimensionless; symbol :math:`\alpha`. Must be at least 0. Default 0.
    epsilon : float, optional
        Keeps the quotient finite, in units of the gradient; beside the root; symbol :math:`\epsilon`. Must be at
        least 0. Default 1e-8.
    decay : {'decoupled', 'coupled', 'independent', 'proximal'}, optional
        As for `Optimizer`, but ``'decoupled'`` by default. No decay unless `weight_decay` is given.

    Notes
    -----
    Equal to ``optax.contrib.simplified_ademamix(learning_rate)``. torch and Keras have none.

    References
    ----------
    .. [1] D. Morwani, N. Vyas, H. Zhang and S. Kakade (2025). "Connections between schedule-free optimizers,
       AdEMAMix, and accelerated SGD variants." arXiv:2502.02431.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("simplifiedademamix", (w**2).sum(), learning_rate=0.01, beta1=0.9)
    >>> train, valid = opt.minimize(max_epochs=300)
    >>> bool(train["loss"] < 0.1)
    True
    """

    presets = {"optax": {}}
    decay = AdEMAMix.decay
    beta1, beta2 = Decay(0.99), Decay(0.95)
    alpha = with_default(AdEMAMix.alpha, 0.0)
    epsilon = AdEMAMix.epsilon
    m, v = Zeros(), Zeros()

    def direction(
        self, param: Variable, grad: Variable, m: Variable, v: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        m_t = self.beta1 * m + grad
        v_t = ema(self.beta2, v, grad**2)
        v_hat = v_t / (1 - self.beta2**self.t)
        return (m_t + self.alpha * grad) / (pt.sqrt(v_hat) + self.epsilon), {"m": m_t, "v": v_t}
