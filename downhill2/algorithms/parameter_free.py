"""Rules that find the learning rate themselves, from how far the parameters have come."""

from __future__ import annotations

import pytensor.tensor as pt

from ..symbolic.algorithm import Algorithm
from ..symbolic.declared import Decay, Hyper, Setting, with_default
from ..symbolic.formulas import ema, norm, sum_of_squares, times
from ..symbolic.graph import Variable
from ..symbolic.state import Copy, Number, Zeros


class DoG(Algorithm):
    r"""DoG: the distance from the start over the root of all squared gradients, as the learning rate.

    Such a rate is what theory would choose if it knew how far the solution is; the farthest point so far stands for
    that. There is nothing to tune. Averages of the parameters (`ema`) serve it well.

    .. math::
        \begin{aligned}
        r_t &= \max(r_{t-1}, \|\theta_t - \theta_0\|) \\
        G_t &= G_{t-1} + \|g_t\|^2 \\
        \theta_{t+1} &= \theta_t - \eta\, \frac{r_t}{\sqrt{G_t + \epsilon}}\, g_t
        \end{aligned}

    The norms are Euclidean, over all parameters.

    Parameters
    ----------
    learning_rate : float, optional
        Factor of the step, dimensionless; symbol :math:`\eta`. Must be at least 0. Default 1.
    init_step : float, optional
        What the first step is made from; must be positive. Default 1e-6.
    init_step_kind : {'heuristic', 'distance', 'learning_rate'}, optional
        Whether :math:`r_0` is `init_step` times :math:`1 + \|\theta_0\|`, `init_step` itself, or the first gradient is
        multiplied by it. Default ``'heuristic'``.
    epsilon : float, optional
        Added under the root, in squared units of the gradient; symbol :math:`\epsilon`. Must be at least 0.
        Default 1e-8.

    Notes
    -----
    Equal to ``optax.contrib.dog()``. torch and Keras have no counterpart. Scope: all parameters of a group as one
    vector.

    References
    ----------
    .. [1] M. Ivgi, O. Hinder and Y. Carmon (2023). "DoG is SGD's best friend: a parameter-free dynamic step size
       schedule." arXiv:2302.12022. Section 1, eq. (DoG).

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("dog", (w**2).sum())
    >>> train, valid = opt.minimize(max_epochs=200)
    >>> bool(train["loss"] < 1e-3)
    True
    """

    scope = "all"
    presets = {"optax": {}}
    learning_rate = with_default(Algorithm.learning_rate, 1.0)
    init_step = Hyper(1e-6, above=0)
    init_step_kind = Setting("heuristic", ("heuristic", "distance", "learning_rate"))
    epsilon = Hyper(1e-8, at_least=0)
    x0, r, g2 = Copy(), Number(), Number()

    def direction(
        self, param: Variable, grad: Variable, x0: Variable, r: Variable, g2: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        first = pt.eq(self.t, 1)
        x0 = pt.switch(first, param, x0)  # parameters may have been set since the state was made
        r_t = pt.switch(first, self.first_distance(param), pt.maximum(r, norm(param - x0)))
        g2_t = g2 + sum_of_squares(grad)
        rate = r_t / pt.sqrt(g2_t + self.epsilon)
        if self.init_step_kind == "learning_rate":
            rate = pt.switch(first, self.init_step, rate)
        return times(rate, grad), {"x0": x0, "r": r_t, "g2": g2_t}

    def first_distance(self, param: Variable) -> Variable:
        """Return what counts as the distance from the start before the first step."""
        if self.init_step_kind == "learning_rate":
            return pt.constant(0.0)
        return self.init_step * (1 + norm(param)) if self.init_step_kind == "heuristic" else self.init_step


class DoWG(Algorithm):
    r"""DoWG: DoG with gradients that are weighted by the distance.

    Later gradients, taken farther from the start, count more, so that steps are longer than DoG's.

    .. math::
        \begin{aligned}
        r^2_t &= \max(r^2_{t-1}, \|\theta_t - \theta_0\|^2) \\
        G_t &= G_{t-1} + r^2_t\, \|g_t\|^2 \\
        \theta_{t+1} &= \theta_t - \eta\, \frac{r^2_t}{\sqrt{G_t} + \epsilon}\, g_t
        \end{aligned}

    The norms are Euclidean, over all parameters.

    Parameters
    ----------
    learning_rate : float, optional
        Factor of the step, dimensionless; symbol :math:`\eta`. Must be at least 0. Default 1.
    init_distance2 : float, optional
        :math:`r^2_0`, in squared units of the parameter; must be positive. Default 1e-4.
    epsilon : float, optional
        Added to the root; symbol :math:`\epsilon`. Must be at least 0. Default 1e-4.

    Notes
    -----
    Equal to ``optax.contrib.dowg()``. torch and Keras have no counterpart. Scope: all parameters of a group as one
    vector.

    References
    ----------
    .. [1] A. Khaled, K. Mishchenko and C. Jin (2023). "DoWG unleashed: an efficient universal parameter-free gradient
       descent method." arXiv:2305.16284. Algorithm 1.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("dowg", (w**2).sum())
    >>> train, valid = opt.minimize(max_epochs=200)
    >>> bool(train["loss"] < 1e-3)
    True
    """

    scope = "all"
    presets = {"optax": {}}
    learning_rate = with_default(Algorithm.learning_rate, 1.0)
    init_distance2 = Hyper(1e-4, above=0)
    epsilon = Hyper(1e-4, at_least=0)
    x0, r2, g2 = Copy(), Number(lambda rule, value: rule.hyper["init_distance2"]), Number()

    def direction(
        self, param: Variable, grad: Variable, x0: Variable, r2: Variable, g2: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        x0 = pt.switch(pt.eq(self.t, 1), param, x0)  # parameters may have been set since the state was made
        r2_t = pt.maximum(r2, sum_of_squares(param - x0))
        g2_t = g2 + r2_t * sum_of_squares(grad)
        return times(r2_t / (pt.sqrt(g2_t) + self.epsilon), grad), {"x0": x0, "r2": r2_t, "g2": g2_t}


def _at_least(d: Variable, numerator: Variable, denominator: Variable) -> Variable:
    """Return the larger of an estimate and a quotient; the estimate where all gradients were zero."""
    return pt.maximum(d, pt.switch(denominator > 0, numerator / denominator, d))


class DAdaptAdamW(Algorithm):
    r"""D-Adapt AdamW: AdamW that estimates its learning rate as it goes.

    How well past steps point along the present gradient bounds the distance to the solution from below; the bound
    only grows, and is the learning rate. `learning_rate` multiplies it, for schedules.

    .. math::
        \begin{aligned}
        \alpha_t &= d_t\, \eta\, \sqrt{1 - \beta_2^t} / (1 - \beta_1^t), \quad \rho = \sqrt{\beta_2} \\
        n_t &= \rho\, n_{t-1} + (1 - \rho)\, \alpha_t\, \langle g_t, s_{t-1} / (\sqrt{v_{t-1}} + \epsilon) \rangle \\
        m_t &= \beta_1\, m_{t-1} + (1 - \beta_1)\, \alpha_t\, g_t, \quad
        v_t = \beta_2\, v_{t-1} + (1 - \beta_2)\, g_t^2 \\
        s_t &= \rho\, s_{t-1} + (1 - \rho)\, \alpha_t\, g_t \\
        d_{t+1} &= \max\left(d_t, \frac{n_t}{(1 - \rho) \|s_t\|_1}\right) \\
        \theta_t &= \theta_{t-1} - m_t / (\sqrt{v_t} + \epsilon) - \alpha_t\, \lambda\, \theta_{t-1}
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        Factor of the estimate, dimensionless; symbol :math:`\eta`. Must be at least 0. Default 1.
    beta1, beta2 : float, optional
        Decay of the averages. Must be in [0, 1). Default 0.9 and 0.999.
    beta1_halflife, beta2_halflife : float, optional
        Half-lives in updates, in place of the decays.
    epsilon : float, optional
        Keeps quotients finite, in units of the gradient; symbol :math:`\epsilon`. Must be at least 0. Default 1e-8.
    estim_lr0 : float, optional
        The first estimate :math:`d_0`; must be positive. Default 1e-6.
    weight_decay : float, optional
        Strength of the decay, part of the equation; symbol :math:`\lambda`. Must be at least 0. Default 0.

    Notes
    -----
    Equal to ``optax.contrib.dadapt_adamw()``, which makes NaN of gradients that have all been zero. torch and Keras
    have no counterpart. Scope: all parameters of a group as one vector.

    References
    ----------
    .. [1] A. Defazio and K. Mishchenko (2023). "Learning-rate-free learning by D-adaptation." arXiv:2301.07733.
       Algorithm 5.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("dadaptadamw", (w**2).sum())
    >>> train, valid = opt.minimize(max_epochs=200)
    >>> bool(train["loss"] < 1e-2)
    True
    """

    scope = "all"
    owns_rate = own_decay = True
    presets = {"optax": {}}
    learning_rate = with_default(Algorithm.learning_rate, 1.0)
    decay = Setting("decoupled", ("decoupled",))
    beta1, beta2 = Decay(0.9), Decay(0.999)
    epsilon = Hyper(1e-8, at_least=0)
    estim_lr0 = Hyper(1e-6, above=0)
    m, v, s = Zeros(), Zeros(), Zeros()
    d, n = Number(lambda rule, value: rule.hyper["estim_lr0"]), Number()

    def direction(
        self, param: Variable, grad: Variable, m: Variable, v: Variable, s: Variable, d: Variable, n: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        rho, alpha = pt.sqrt(self.beta2), d * self.rate * self.correction
        along = pt.sum(grad * (s / (pt.sqrt(v) + self.epsilon)))
        n_t = ema(rho, n, alpha * along)
        m_t, v_t, s_t = ema(self.beta1, m, alpha * grad), ema(self.beta2, v, grad**2), ema(rho, s, alpha * grad)
        d_t = _at_least(d, n_t, (1 - rho) * pt.sum(pt.abs(s_t)))
        step = m_t / (pt.sqrt(v_t) + self.epsilon) + alpha * self.weight_decay * param
        return step, {"m": m_t, "v": v_t, "s": s_t, "d": d_t, "n": n_t}

    @property
    def correction(self) -> Variable:
        """Adam's factor for the start of both averages at zero."""
        return pt.sqrt(1 - self.beta2**self.t) / (1 - self.beta1**self.t)


class Prodigy(DAdaptAdamW):
    r"""Prodigy: a faster growing estimate than that of D-Adaptation.

    The distance to the solution is estimated from how the way back to the start lies along the gradients, with
    weights that grow with the estimate.

    .. math::
        \begin{aligned}
        \alpha_t &= d_t\, \eta\, \sqrt{1 - \beta_2^t} / (1 - \beta_1^t), \quad \beta_3 = \sqrt{\beta_2} \\
        m_t &= \beta_1\, m_{t-1} + (1 - \beta_1)\, d_t\, g_t, \quad
        v_t = \beta_2\, v_{t-1} + (1 - \beta_2)\, d_t^2\, g_t^2 \\
        n_t &= \beta_3\, n_{t-1} + \frac{d_t}{d_0} \alpha_t\, \langle g_t, \theta_0 - \theta_t \rangle, \quad
        s_t = \beta_3\, s_{t-1} + \frac{d_t}{d_0} \alpha_t\, g_t \\
        d_{t+1} &= \max\left(d_t, c\, \frac{n_t}{\|s_t\|_1}\right) \\
        \theta_{t+1} &= \theta_t - \alpha_t\, m_t / (\sqrt{v_t} + d_{t+1}\, \epsilon) - \alpha_t\, \lambda\, \theta_t
        \end{aligned}

    Parameters
    ----------
    learning_rate, beta1, beta2, beta1_halflife, beta2_halflife, epsilon, estim_lr0, weight_decay
        As for `DAdaptAdamW`.
    estim_lr_coef : float, optional
        Factor of the estimate; symbol :math:`c`. Must be positive. Default 1.
    safeguard_warmup : bool, optional
        Whether :math:`s_t` sums :math:`d_t` in place of :math:`\alpha_t`, so that a rate that starts at 0 does not
        make the estimate jump. Default False.

    Notes
    -----
    Equal to ``optax.contrib.prodigy()``, which makes NaN of gradients that have all been zero. torch and Keras have no
    counterpart. Scope: all parameters of a group as one vector.

    References
    ----------
    .. [1] K. Mishchenko and A. Defazio (2023). "Prodigy: an expeditiously adaptive parameter-free learner."
       arXiv:2306.06101. Algorithm 4.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("prodigy", (w**2).sum())
    >>> train, valid = opt.minimize(max_epochs=200)
    >>> bool(train["loss"] < 1e-2)
    True
    """

    estim_lr_coef = Hyper(1.0, above=0)
    safeguard_warmup = Setting(False)
    x0 = Copy()

    def direction(  # type: ignore[override]  # it has one state more
        self,
        param: Variable,
        grad: Variable,
        m: Variable,
        v: Variable,
        s: Variable,
        d: Variable,
        n: Variable,
        x0: Variable,
    ) -> tuple[Variable, dict[str, Variable]]:
        beta3, alpha, grown = pt.sqrt(self.beta2), d * self.rate * self.correction, d / self.estim_lr0
        x0 = pt.switch(pt.eq(self.t, 1), param, x0)  # parameters may have been set since the state was made
        m_t, v_t = ema(self.beta1, m, d * grad), ema(self.beta2, v, (d * grad) ** 2)
        n_t = beta3 * n + grown * alpha * pt.sum(grad * (x0 - param))
        s_t = beta3 * s + grown * (d if self.safeguard_warmup else alpha) * grad
        d_t = _at_least(d, self.estim_lr_coef * n_t, pt.sum(pt.abs(s_t)))
        step = alpha * (m_t / (pt.sqrt(v_t) + d_t * self.epsilon) + self.weight_decay * param)
        return step, {"m": m_t, "v": v_t, "s": s_t, "d": d_t, "n": n_t, "x0": x0}
