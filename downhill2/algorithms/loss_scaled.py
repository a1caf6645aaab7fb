"""Steps whose size follows from the value of the loss and a bound below it."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt

from ..symbolic.algorithm import Algorithm
from ..symbolic.declared import Decay, Hyper, Setting, with_default
from ..symbolic.formulas import HIGHEST, dot, ema, norm, times
from ..symbolic.graph import Variable
from ..symbolic.state import Number, State, Zeros

TINY = float(np.finfo("f8").eps)
"""Squared norms up to this count as zero: there is no direction to take."""


class Polyak(Algorithm):
    r"""Polyak's step: as long as it takes to reach the known minimum of the loss, were the loss linear.

    Needs no learning rate but the least value that the loss can have; 0 for models that can fit all their data.

    .. math::
        \theta_{t+1} = \theta_t - \eta\, \min\left(\gamma, \frac{f_t - f^*}{\|g_t\|^2 + \epsilon}\right) g_t

    :math:`f_t` is the loss of the batch; the norm is Euclidean, over all parameters.

    Parameters
    ----------
    learning_rate : float, optional
        Factor of the step, dimensionless; symbol :math:`\eta`. Must be at least 0. Default 1.
    f_min : float, optional
        The least value of the loss, in its units; symbol :math:`f^*`. Default 0.
    max_learning_rate : float, optional
        Longest step relative to the gradient; symbol :math:`\gamma`. Must be positive. Default 1.
    epsilon : float, optional
        Added to the squared norm, in its units; symbol :math:`\epsilon`. Must be at least 0. Default 0.

    Notes
    -----
    Equal to ``optax.polyak_sgd()``, whose `scaling` is of the gradient before the step is found. Where the squared
    norm, with epsilon, is at most 2.2e-16 there is no step. torch and Keras have no counterpart. Scope: all parameters
    of a group as one vector.

    References
    ----------
    .. [1] B. T. Polyak (1987). "Introduction to optimization." Section 5.3.
    .. [2] E. Hazan and S. Kakade (2019). "Revisiting the Polyak step size." arXiv:1905.00313.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("polyak", (w**2).sum())
    >>> train, valid = opt.minimize(max_epochs=50)
    >>> bool(train["loss"] < 1e-6)
    True
    """

    scope = "all"
    needs = ("loss",)
    presets = {"optax": {}}
    learning_rate = with_default(Algorithm.learning_rate, 1.0)
    f_min = Hyper(0.0)
    max_learning_rate = Hyper(1.0, above=0)
    epsilon = Hyper(0.0, at_least=0)

    def direction(self, param: Variable, grad: Variable) -> tuple[Variable, dict[str, Variable]]:
        # divided by the norm twice, as float64 may not hold its square
        size = norm(grad)
        part = pt.minimum(1 / size, HIGHEST)
        bound = self.weight * size + self.epsilon * part
        rate = pt.minimum(self.max_learning_rate, self.gap * part / bound)
        return times(pt.switch(bound * size > TINY, rate, 0.0), grad), {}

    @property
    def gap(self) -> Variable:
        """How far the loss is above its bound."""
        return self.loss - self.f_min

    @property
    def weight(self) -> Variable:
        """The factor of the squared norm."""
        return 1


class SPS(Polyak):
    r"""SPS: the stochastic Polyak step.

    Polyak's step with the loss and gradient of a batch, which may be cut by a factor and a bound.

    .. math::
        \theta_{t+1} = \theta_t - \eta\, \min\left(\gamma, \frac{f_t - f^*}{c\, \|g_t\|^2 + \epsilon}\right) g_t

    Parameters
    ----------
    learning_rate, f_min, max_learning_rate, epsilon
        As for `Polyak`.
    c : float, optional
        Factor of the squared norm, dimensionless; symbol :math:`c`. Must be positive. Default 0.5.

    Notes
    -----
    Equal to ``optax.polyak_sgd(variant='sps')`` with ``c=1``. torch and Keras have no counterpart.

    References
    ----------
    .. [1] N. Loizou, S. Vaswani, I. Laradji and S. Lacoste-Julien (2020). "Stochastic Polyak step-size for SGD."
       arXiv:2002.10542. Eq. (3), with SPS_max's bound.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("sps", (w**2).sum(), max_learning_rate=0.4)
    >>> train, valid = opt.minimize(max_epochs=50)
    >>> bool(train["loss"] < 1e-6)
    True
    """

    presets = {"optax": {"c": 1.0}}
    c = Hyper(0.5, above=0)

    @property
    def weight(self) -> Variable:
        return self.c


class SPSPlus(SPS):
    r"""SPS+: the stochastic Polyak step where batches may do better than the bound.

    No step where the loss of a batch is below the bound.

    .. math::
        \theta_{t+1} = \theta_t
            - \eta\, \min\left(\gamma, \frac{\max(f_t - f^*, 0)}{c\, \|g_t\|^2 + \epsilon}\right) g_t

    Parameters
    ----------
    learning_rate, f_min, max_learning_rate, epsilon, c
        As for `SPS`.

    Notes
    -----
    Equal to ``optax.polyak_sgd(variant='sps+')`` with ``c=1``. torch and Keras have no counterpart.

    References
    ----------
    .. [1] G. Garrigos, R. M. Gower and F. Schaipp (2023). "Function value learning: adaptive learning rates based on
       the Polyak stepsize and function splitting in ERM." arXiv:2307.14528.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("spsplus", (w**2).sum(), max_learning_rate=0.4)
    >>> train, valid = opt.minimize(max_epochs=50)
    >>> bool(train["loss"] < 1e-6)
    True
    """

    @property
    def gap(self) -> Variable:
        return pt.maximum(super().gap, 0)


class MoMo(Algorithm):
    r"""MoMo: momentum whose step goes no further than a model of the loss allows.

    Averages of losses and gradients make a linear model of the loss, cut off at a lower bound. A step goes to where
    the model meets the bound, and at most as far as the learning rate says: rates that are too large do no harm.

    .. math::
        \begin{aligned}
        m_t &= \beta\, m_{t-1} + (1 - \beta)\, g_t, \quad \bar f_t = \beta\, \bar f_{t-1} + (1 - \beta)\, f_t, \quad
        \gamma_t = \beta\, \gamma_{t-1} + (1 - \beta)\, \langle g_t, \theta_t \rangle \\
        h_t &= \max\left((1 + \eta \lambda) (\bar f_t - f^* - \gamma_t) + \langle m_t, \theta_t \rangle, 0\right) \\
        \theta_{t+1} &= \frac{1}{1 + \eta \lambda} \theta_t - \min(\eta, h_t / \|m_t\|^2)\, m_t
        \end{aligned}

    The first averages are the first values.

    Parameters
    ----------
    learning_rate : float, optional
        Longest step relative to the averaged gradient; symbol :math:`\eta`. Must be at least 0. Default 1.
    beta : float, optional
        Decay of the averages; symbol :math:`\beta`. Must be in [0, 1). Default 0.9.
    beta_halflife : float, optional
        Half-life of the averages in updates, in place of `beta`.
    lower_bound : float, optional
        The least value of the loss, in its units; symbol :math:`f^*`. Default 0.
    adapt_lower_bound : bool, optional
        Whether the bound is raised as the losses allow, and lowered again, but not below `lower_bound`. Default False.
    weight_decay : float, optional
        Strength of the decay, part of the equation; symbol :math:`\lambda`. Must be at least 0. Default 0.

    Notes
    -----
    Equal to ``optax.contrib.momo(learning_rate)``. torch and Keras have no counterpart. Scope: all parameters of a
    group as one vector.

    References
    ----------
    .. [1] F. Schaipp, R. Ohana, M. Eickenberg, A. Defazio and R. M. Gower (2023). "MoMo: momentum models for adaptive
       learning rates." arXiv:2305.07583. Algorithms 1 and 3.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("momo", (w**2).sum())
    >>> train, valid = opt.minimize(max_epochs=150)
    >>> bool(train["loss"] < 1e-3)
    True
    """

    scope = "all"
    needs = ("loss",)
    owns_rate = own_decay = True
    presets = {"optax": {}}
    learning_rate = with_default(Algorithm.learning_rate, 1.0)
    decay = Setting("decoupled", ("decoupled",))
    beta = Decay(0.9)
    lower_bound = Hyper(0.0)
    adapt_lower_bound = Setting(False)
    m, f, gamma = Zeros(), Number(), Number()
    bound = State(
        lambda rule, value: rule.hyper["lower_bound"],
        lambda rule, value: (),
        when=lambda rule: rule.adapt_lower_bound,
        dtype="float64",
    )

    def direction(
        self, param: Variable, grad: Variable, m: Variable, f: Variable, gamma: Variable, bound: Variable = None
    ) -> tuple[Variable, dict[str, Variable]]:
        first = pt.eq(self.t, 1)
        state = self.averages(pt.switch(first, 0, self.beta), param, grad, m, f, gamma)
        return self.step(param, state["m"], state, bound, 1)

    def averages(
        self, beta: Variable, param: Variable, grad: Variable, m: Variable, f: Variable, gamma: Variable
    ) -> dict[str, Variable]:
        """Return the averages of gradients, losses and products of gradient and parameter."""
        product = dot(grad, param)
        return {"m": ema(beta, m, grad), "f": ema(beta, f, self.loss), "gamma": ema(beta, gamma, product)}

    def step(
        self, param: Variable, d: Variable, state: dict[str, Variable], bound: Variable, correction: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        """Return the step along d, with decay, and the state, with the new bound where that adapts."""
        m, f, gamma, shrink = state["m"], state["f"], state["gamma"], self.rate * self.weight_decay
        size, along = dot(m, d), dot(m, param)
        if self.adapt_lower_bound:
            cap = (1 + shrink) * (f - gamma) + along
            part = correction * (1 + shrink)
            bound = pt.switch(cap < part * bound, pt.maximum(cap / (2 * part), self.lower_bound), bound)
        else:
            bound = self.lower_bound
        height = pt.maximum((1 + shrink) * (f - correction * bound - gamma) + along, 0)
        tau = pt.minimum(self.rate / correction, pt.switch(size > TINY, height / size, 0))
        if self.adapt_lower_bound:
            met = (f + along - gamma - tau * size / 2) / correction
            state = {**state, "bound": pt.maximum(met, self.lower_bound)}
        return shrink / (1 + shrink) * param + tau * d, state


class MoMoAdam(MoMo):
    r"""MoMo-Adam: Adam whose step goes no further than a model of the loss allows.

    `MoMo` with the distances of Adam: the step goes along :math:`d_t` below, and its squared norm is replaced by
    :math:`\langle m_t, d_t \rangle`. The averages start at zero, for which the rate and the bound are corrected.

    .. math::
        \begin{aligned}
        v_t &= \beta_2\, v_{t-1} + (1 - \beta_2)\, g_t^2 \\
        d_t &= m_t / \left(\epsilon + \sqrt{v_t / (1 - \beta_2^t)}\right) \\
        h_t &= \max\left((1 + \eta \lambda) (\bar f_t - (1 - \beta_1^t) f^* - \gamma_t)
        + \langle m_t, \theta_t \rangle, 0\right) \\
        \theta_{t+1} &= \frac{1}{1 + \eta \lambda} \theta_t
        - \min\left(\frac{\eta}{1 - \beta_1^t}, \frac{h_t}{\langle m_t, d_t \rangle}\right) d_t
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        Longest step, in the units of the parameter; symbol :math:`\eta`. Must be at least 0. Default 0.01.
    beta1, beta2 : float, optional
        Decay of the averages, and of squared gradients. Must be in [0, 1). Default 0.9 and 0.999.
    beta1_halflife, beta2_halflife : float, optional
        Half-lives in updates, in place of the decays.
    epsilon : float, optional
        Keeps the quotient finite, in units of the gradient, outside the root; must be at least 0. Default 1e-8.
    lower_bound, adapt_lower_bound, weight_decay
        As for `MoMo`.

    Notes
    -----
    Equal to ``optax.contrib.momo_adam(learning_rate)``. torch and Keras have no counterpart.

    References
    ----------
    .. [1] F. Schaipp, R. Ohana, M. Eickenberg, A. Defazio and R. M. Gower (2023). "MoMo: momentum models for adaptive
       learning rates." arXiv:2305.07583. Algorithm 2.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("momoadam", (w**2).sum(), learning_rate=1)
    >>> train, valid = opt.minimize(max_epochs=100)
    >>> bool(train["loss"] < 0.1)
    True
    """

    learning_rate = with_default(Algorithm.learning_rate, 0.01)
    beta = None
    beta1, beta2 = Decay(0.9), Decay(0.999)
    epsilon = Hyper(1e-8, at_least=0)
    v = Zeros()

    def direction(  # type: ignore[override]  # it has one state more
        self,
        param: Variable,
        grad: Variable,
        m: Variable,
        v: Variable,
        f: Variable,
        gamma: Variable,
        bound: Variable = None,
    ) -> tuple[Variable, dict[str, Variable]]:
        state = self.averages(self.beta1, param, grad, m, f, gamma)
        v_t = ema(self.beta2, v, grad**2)
        d = state["m"] / (self.epsilon + pt.sqrt(v_t / (1 - self.beta2**self.t)))
        return self.step(param, d, {**state, "v": v_t}, bound, 1 - self.beta1**self.t)
