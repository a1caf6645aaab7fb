"""Adam with another idea of how large gradients are."""

from __future__ import annotations

import pytensor.tensor as pt

from ..symbolic.algorithm import Algorithm
from ..symbolic.declared import Decay, Hyper, Setting, with_default
from ..symbolic.formulas import ema
from ..symbolic.graph import Variable
from ..symbolic.state import State, Zeros


class AdaBelief(Algorithm):
    r"""AdaBelief: Adam that divides by how far gradients are from what was expected of them.

    The moving mean is a prediction of the gradient. Where gradients come out as predicted, even large ones, steps are
    long; where they do not, short. Adam, which looks at their size alone, has it the other way round for large steady
    gradients.

    .. math::
        \begin{aligned}
        m_t &= \beta_1\, m_{t-1} + (1 - \beta_1)\, g_t \\
        s_t &= \beta_2\, s_{t-1} + (1 - \beta_2)\, (g_t - m_t)^2 + \epsilon_r \\
        \hat m_t &= m_t / (1 - \beta_1^t) \\
        \hat s_t &= s_t / (1 - \beta_2^t) \\
        \theta_t &= \theta_{t-1} - \eta\, \hat m_t / (\sqrt{\hat s_t} + \epsilon)
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        Size of a step, in the units of the parameter; symbol :math:`\eta`. Must be at least 0. Default 1e-4.
    beta1, beta2 : float, optional
        Decay of the mean and of the mean square. Must be in [0, 1). Default 0.9 and 0.999.
    beta1_halflife, beta2_halflife : float, optional
        Half-lives in updates, in place of the decays.
    epsilon : float, optional
        Keeps the quotient finite, in units of the gradient; beside the root; symbol :math:`\epsilon`. Must be at
        least 0. Default 1e-16.
    epsilon_root : float, optional
        What every update adds to the mean square, in squared units of the gradient; symbol :math:`\epsilon_r`. Must
        be at least 0. Default 1e-16.

    Notes
    -----
    Equal to ``optax.adabelief(learning_rate)``. The paper has one epsilon for both places; its authors' code has
    1e-16. torch and Keras have none.

    References
    ----------
    .. [1] J. Zhuang et al. (2020). "AdaBelief optimizer: adapting stepsizes by the belief in observed gradients."
       arXiv:2010.07468. Algorithm 2.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("adabelief", (w**2).sum(), learning_rate=0.1)
    >>> train, valid = opt.minimize(max_epochs=300)
    >>> bool(train["loss"] < 1e-6)
    True
    """

    presets = {"optax": {}}
    beta1 = Decay(0.9)
    beta2 = Decay(0.999)
    epsilon = Hyper(1e-16, at_least=0)
    epsilon_root = Hyper(1e-16, at_least=0)
    m, s = Zeros(), Zeros()

    def direction(
        self, param: Variable, grad: Variable, m: Variable, s: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        m_t = ema(self.beta1, m, grad)
        s_t = ema(self.beta2, s, (grad - m_t) ** 2) + self.epsilon_root
        m_hat = m_t / (1 - self.beta1**self.t)
        s_hat = s_t / (1 - self.beta2**self.t)
        return m_hat / (pt.sqrt(s_hat) + self.epsilon), {"m": m_t, "s": s_t}


class ACProp(Algorithm):
    r"""ACProp: the gradient over what was known before it of how far gradients are from their mean.

    As in AdaBelief the divisor is the spread of gradients around their moving mean. It is that of the update before,
    so that a gradient does not decide how much it counts itself; this makes convergence possible where Adam fails.

    .. math::
        \begin{aligned}
        \hat s_{t-1} &= s_{t-1} / (1 - \beta_2^{t-1}), \quad \hat s_0 = 1 \\
        m_t &= \beta_1\, m_{t-1} + (1 - \beta_1)\, g_t \\
        s_t &= \beta_2\, s_{t-1} + (1 - \beta_2)\, (g_t - m_t)^2 + \epsilon_r \\
        \theta_t &= \theta_{t-1} - \eta\, g_t / (\sqrt{\hat s_{t-1}} + \epsilon)
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        Size of a step, in the units of the parameter; symbol :math:`\eta`. Must be at least 0. Default 1e-4.
    beta1, beta2 : float, optional
        Decay of the mean and of the mean square. Must be in [0, 1). Default 0.9 and 0.999.
    beta1_halflife, beta2_halflife : float, optional
        Half-lives in updates, in place of the decays.
    epsilon : float, optional
        Keeps the quotient finite, in units of the gradient; beside the root; symbol :math:`\epsilon`. Must be at
        least 0. Default 1e-16.
    epsilon_root : float, optional
        What every update adds to the mean square, in squared units of the gradient; symbol :math:`\epsilon_r`. Must
        be at least 0. Default 1e-16.
    form : {'paper', 'optax'}, optional
        Whether the deviation is from the mean with this gradient in it, :math:`g_t - m_t`, or without,
        :math:`g_t - m_{t-1}`. The one is :math:`\beta_1` times the other. Default ``'paper'``.

    Notes
    -----
    With ``form='optax'`` equal to ``optax.contrib.acprop(learning_rate)``, which documents the other form. Before the
    second update nothing is known of the spread: the first step is that of gradient descent.

    References
    ----------
    .. [1] J. Zhuang et al. (2021). "Momentum centering and asynchronous update for adaptive gradient methods."
       arXiv:2110.05454.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("acprop", (w**2).sum(), learning_rate=0.1)
    >>> train, valid = opt.minimize(max_epochs=100)
    >>> bool(train["loss"] < 1e-3)
    True
    """

    presets = {"optax": {"form": "optax"}}
    beta1, beta2 = AdaBelief.beta1, AdaBelief.beta2
    epsilon, epsilon_root = AdaBelief.epsilon, AdaBelief.epsilon_root
    form = Setting("paper", ("paper", "optax"))
    m, s = Zeros(), Zeros()

    def direction(
        self, param: Variable, grad: Variable, m: Variable, s: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        t_1 = pt.maximum(self.t - 1, 1)  # no 0 / 0 in the first update, which takes 1 instead
        s_hat = pt.switch(self.t > 1, s / (1 - self.beta2**t_1), 1)
        m_t = ema(self.beta1, m, grad)
        deviation = grad - (m_t if self.form == "paper" else m)
        s_t = ema(self.beta2, s, deviation**2) + self.epsilon_root
        return grad / (pt.sqrt(s_hat) + self.epsilon), {"m": m_t, "s": s_t}


class Yogi(Algorithm):
    r"""Yogi: Adam whose mean square grows and falls by steps of bounded size.

    Adam's mean square falls quickly when gradients become small, and rates jump up. Here it moves towards the squared
    gradient by an amount that depends on that alone, not on how far it has to go.

    .. math::
        \begin{aligned}
        m_t &= \beta_1\, m_{t-1} + (1 - \beta_1)\, g_t \\
        v_t &= v_{t-1} - (1 - \beta_2)\, \mathrm{sign}(v_{t-1} - g_t^2)\, g_t^2 \\
        \hat m_t &= m_t / (1 - \beta_1^t) \\
        \hat v_t &= v_t / (1 - \beta_2^t) \\
        \theta_t &= \theta_{t-1} - \eta\, \hat m_t / (\sqrt{\hat v_t} + \epsilon)
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        Size of a step, in the units of the parameter; symbol :math:`\eta`. Must be at least 0. Default 1e-4.
    beta1, beta2 : float, optional
        Decay of the mean, and pace of the mean square. Must be in [0, 1). Default 0.9 and 0.999.
    beta1_halflife, beta2_halflife : float, optional
        Half-lives in updates, in place of the decays.
    epsilon : float, optional
        Keeps the quotient finite, in units of the gradient; beside the root; symbol :math:`\epsilon`. Must be at
        least 0. Default 1e-3.
    initial_accumulator : float, optional
        What the mean square starts at, in squared units of the gradient; symbol :math:`v_0`. Must be at least 0.
        Later values have no effect. Default 1e-6.
    initial_mean : float, optional
        What the mean starts at, in units of the gradient; symbol :math:`m_0`. Later values have no effect. Default 0.

    Notes
    -----
    Equal to ``optax.yogi(learning_rate)`` with ``initial_mean=1e-6``, where the first steps are off by what optax
    starts its mean at. The corrections are not in the paper, which starts :math:`v` at a mean square of gradients.

    References
    ----------
    .. [1] M. Zaheer, S. Reddi, D. Sachan, S. Kale and S. Kumar (2018). "Adaptive methods for nonconvex
       optimization." NeurIPS 31. Algorithm 2.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("yogi", (w**2).sum(), learning_rate=0.1)
    >>> train, valid = opt.minimize(max_epochs=300)
    >>> bool(train["loss"] < 1e-4)
    True
    """

    presets = {"optax": {"initial_mean": 1e-6}}
    beta1, beta2 = AdaBelief.beta1, AdaBelief.beta2
    epsilon = Hyper(1e-3, at_least=0)
    initial_accumulator = Hyper(1e-6, at_least=0)
    initial_mean = Hyper(0.0)
    m = State(lambda rule, value: rule.hyper["initial_mean"])
    v = State(lambda rule, value: rule.hyper["initial_accumulator"])

    def direction(
        self, param: Variable, grad: Variable, m: Variable, v: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        m_t = ema(self.beta1, m, grad)
        v_t = v - (1 - self.beta2) * pt.sign(v - grad**2) * grad**2
        m_hat = m_t / (1 - self.beta1**self.t)
        v_hat = v_t / (1 - self.beta2**self.t)
        return m_hat / (pt.sqrt(v_hat) + self.epsilon), {"m": m_t, "v": v_t}


class ADOPT(Algorithm):
    r"""ADOPT: the mean of gradients that were scaled, each by what was known before it.

    Adam divides the mean of gradients by a root that the newest of them has changed, and need not converge unless
    :math:`\beta_2` suits the problem. Scaling each gradient by the mean square of those before it, and only then
    averaging, converges with any.

    .. math::
        \begin{aligned}
        u_t &= \mathrm{clip}(g_t / \max(\sqrt{v_{t-1}}, \epsilon), -c_t, c_t), \quad c_t = (t - 1)^{1/4} \\
        m_t &= \beta_1\, m_{t-1} + (1 - \beta_1)\, u_t \\
        v_t &= \beta_2\, v_{t-1} + (1 - \beta_2)\, g_t^2, \quad v_1 = g_1^2 \\
        \theta_t &= \theta_{t-1} - \eta\, m_t
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        Size of a step, in the units of the parameter; symbol :math:`\eta`. Must be at least 0. Default 1e-4.
    beta1, beta2 : float, optional
        Decay of the mean and of the mean square. Must be in [0, 1). Default 0.9 and 0.9999.
    beta1_halflife, beta2_halflife : float, optional
        Half-lives in updates, in place of the decays.
    epsilon : float, optional
        Smallest divisor, in units of the gradient: the larger of it and the root counts; symbol :math:`\epsilon`. Must
        be at least 0. Default 1e-6.
    clipped : bool, optional
        Whether scaled gradients are clipped. Default True.

    Notes
    -----
    The first update only looks: it moves nothing. Equal to ``optax.contrib.adopt(learning_rate)`` and, with
    ``clipped=False``, to its ``use_clipping=False``.

    References
    ----------
    .. [1] S. Taniguchi et al. (2024). "ADOPT: modified Adam can converge with any beta2 with the optimal rate."
       arXiv:2411.02853. Algorithms 1 (not clipped) and 2.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("adopt", (w**2).sum(), learning_rate=0.1, beta2=0.99)
    >>> train, valid = opt.minimize(max_epochs=300)
    >>> bool(train["loss"] < 1e-4)
    True
    """

    presets = {"optax": {}}
    beta1, beta2 = AdaBelief.beta1, with_default(AdaBelief.beta2, 0.9999)
    epsilon = Hyper(1e-6, at_least=0)
    clipped = Setting(True)
    m, v = Zeros(), Zeros()

    def direction(
        self, param: Variable, grad: Variable, m: Variable, v: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        later = self.t > 1
        u = grad / pt.maximum(pt.sqrt(v), self.epsilon)
        if self.clipped:
            limit = (self.t - 1) ** 0.25
            u = pt.clip(u, -limit, limit)
        m_t = pt.switch(later, ema(self.beta1, m, u), 0)
        v_t = pt.switch(later, ema(self.beta2, v, grad**2), grad**2)
        return m_t, {"m": m_t, "v": v_t}
