"""Variants of Adam: another maximum, another decay, another momentum, another start."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt

from ..symbolic.declared import Hyper, Setting, with_default
from ..symbolic.formulas import ema
from ..symbolic.graph import Variable
from ..symbolic.state import Number, Zeros
from ..symbolic.transforms import WeightDecay
from .adam import Adam

KERAS = {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-7, "decay": "decoupled"}


class AdamW(Adam):
    r"""AdamW: Adam with weight decay beside the step, not in the gradient.

    Decay that goes through the gradient is divided by its root mean square, so that parameters with large gradients
    hardly decay. Here every parameter shrinks by the same fraction.

    .. math::
        \begin{aligned}
        m_t &= \beta_1\, m_{t-1} + (1 - \beta_1)\, g_t \\
        v_t &= \beta_2\, v_{t-1} + (1 - \beta_2)\, g_t^2 \\
        \hat m_t &= m_t / (1 - \beta_1^t) \\
        \hat v_t &= v_t / (1 - \beta_2^t) \\
        \theta_t &= \theta_{t-1} - \eta\, \hat m_t / (\sqrt{\hat v_t} + \epsilon) - \eta\, \lambda\, \theta_{t-1}
        \end{aligned}

    Parameters
    ----------
    learning_rate, beta1, beta2, beta1_halflife, beta2_halflife, epsilon, epsilon_at
        As for `Adam`, with its defaults.
    weight_decay : float, optional
        Fraction of the parameter that an update takes away, per unit of the learning rate; symbol :math:`\lambda`.
        Must be at least 0. Default 0.01.
    decay : {'decoupled', 'coupled', 'independent', 'proximal'}, optional
        As for `Optimizer`, but ``'decoupled'`` by default.

    Notes
    -----
    ``Adam(decay='decoupled', weight_decay=0.01)`` by another name. With ``beta1=0.9, beta2=0.999`` equal to
    ``torch.optim.AdamW(lr)``, with ``weight_decay=1e-4`` too to ``optax.adamw(learning_rate)``, with
    ``epsilon=1e-7, epsilon_at='hat', weight_decay=0.004`` to Keras' AdamW. The paper multiplies the decay by a
    schedule but not by the rate: ``decay='independent'``.

    References
    ----------
    .. [1] I. Loshchilov and F. Hutter (2017). "Decoupled weight decay regularization." arXiv:1711.05101. Algorithm 2.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("adamw", (w**2).sum(), learning_rate=0.1)
    >>> train, valid = opt.minimize(max_epochs=300)
    >>> bool(train["loss"] < 1e-6)
    True
    """

    presets = {
        "torch": {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999},
        "optax": {"beta1": 0.9, "beta2": 0.999, "weight_decay": 1e-4},
        "keras": {**KERAS, "epsilon_at": "hat", "weight_decay": 0.004},
    }
    weight_decay = with_default(WeightDecay.weight_decay, 0.01)
    decay = with_default(WeightDecay.decay, "decoupled")


class AMSGrad(Adam):
    r"""AMSGrad: Adam that divides by the largest mean square so far.

    A moving average forgets rare large gradients, and steps grow again when they should not; there are convex losses
    on which Adam therefore ends in the wrong place. Here the divisor never falls.

    .. math::
        \begin{aligned}
        m_t &= \beta_1\, m_{t-1} + (1 - \beta_1)\, g_t \\
        v_t &= \beta_2\, v_{t-1} + (1 - \beta_2)\, g_t^2 \\
        v^{\max}_t &= \max(v^{\max}_{t-1}, v_t) \\
        \hat m_t &= m_t / (1 - \beta_1^t) \\
        \hat v_t &= v^{\max}_t / (1 - \beta_2^t) \\
        \theta_t &= \theta_{t-1} - \eta\, \hat m_t / (\sqrt{\hat v_t} + \epsilon)
        \end{aligned}

    Parameters
    ----------
    learning_rate, beta1, beta2, beta1_halflife, beta2_halflife, epsilon, epsilon_at
        As for `Adam`, with its defaults.
    form : {'torch', 'optax', 'paper'}, optional
        Where the averages are corrected for their start at zero: after the maximum (``'torch'``, Keras, Lasagne),
        before it (``'optax'``: :math:`v^{\max}_t = \max(v^{\max}_{t-1}, v_t / (1 - \beta_2^t))` and
        :math:`\hat v_t = v^{\max}_t`), or nowhere (``'paper'``). Default ``'torch'``.

    Notes
    -----
    With ``beta1=0.9, beta2=0.999`` equal to ``torch.optim.Adam(lr, amsgrad=True)``; with ``form='optax'`` too to
    ``optax.amsgrad(learning_rate)``; with ``epsilon_at='hat'``, and ``epsilon=1e-7`` in Keras, to Lasagne's and to
    Keras' ``Adam(amsgrad=True)``. The paper has no epsilon.

    References
    ----------
    .. [1] S. J. Reddi, S. Kale and S. Kumar (2018). "On the convergence of Adam and beyond." ICLR 2018,
       arXiv:1904.09237. Algorithm 2.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("amsgrad", (w**2).sum(), learning_rate=0.1)
    >>> train, valid = opt.minimize(max_epochs=300)
    >>> bool(train["loss"] < 1e-6)
    True
    """

    presets = {
        "torch": {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999},
        "optax": {"beta1": 0.9, "beta2": 0.999, "form": "optax"},
        "keras": {**KERAS, "epsilon_at": "hat"},
    }
    form = Setting("torch", ("torch", "optax", "paper"))
    v_max = Zeros()

    def direction(  # type: ignore[override]  # states come by name
        self, param: Variable, grad: Variable, m: Variable, v: Variable, v_max: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        m_t = ema(self.beta1, m, grad)
        v_t = ema(self.beta2, v, grad**2)
        unbiased = 1 - self.beta2**self.t
        v_max_t = pt.maximum(v_max, v_t / unbiased if self.form == "optax" else v_t)
        m_hat = m_t if self.form == "paper" else m_t / (1 - self.beta1**self.t)
        v_hat = v_max_t / unbiased if self.form == "torch" else v_max_t
        return m_hat / self.denominator(v_hat), {"m": m_t, "v": v_t, "v_max": v_max_t}


class NAdam(Adam):
    r"""NAdam: Adam with Nesterov's momentum.

    Adam moves by the mean of gradients as it is; Nesterov's momentum by the mean as it will be, in which the present
    gradient weighs more. The weight of what is remembered also grows in the course of the run.

    .. math::
        \begin{aligned}
        m_t &= \beta_1\, m_{t-1} + (1 - \beta_1)\, g_t \\
        v_t &= \beta_2\, v_{t-1} + (1 - \beta_2)\, g_t^2 \\
        \mu_t &= \beta_1\, (1 - \tfrac12\, 0.96^{t \psi}) \\
        \hat m_t &= \mu_{t+1}\, m_t / (1 - \textstyle\prod_{i=1}^{t+1} \mu_i)
            + (1 - \mu_t)\, g_t / (1 - \textstyle\prod_{i=1}^t \mu_i) \\
        \hat v_t &= v_t / (1 - \beta_2^t) \\
        \theta_t &= \theta_{t-1} - \eta\, \hat m_t / (\sqrt{\hat v_t} + \epsilon)
        \end{aligned}

    Parameters
    ----------
    learning_rate, beta1, beta2, beta1_halflife, beta2_halflife, epsilon, epsilon_at
        As for `Adam`, with its defaults.
    momentum_decay : float, optional
        How fast the weight grows, per update; symbol :math:`\psi`. Must be at least 0. Default 0.004.
    momentum_schedule : bool, optional
        Whether it grows at all: False has :math:`\mu_t = \beta_1`. Default True.

    Notes
    -----
    Three libraries have three NAdams. With ``beta1=0.9, beta2=0.999`` this is ``torch.optim.NAdam(lr)``, whose
    default rate is 0.002; with ``momentum_decay=1, epsilon=1e-7`` too it is Keras' Nadam; with
    ``momentum_schedule=False`` instead it is ``optax.nadam(learning_rate)``. The report multiplies :math:`\hat v_t`
    by another :math:`\beta_2`, as no library does.

    References
    ----------
    .. [1] T. Dozat (2016). "Incorporating Nesterov momentum into Adam." ICLR 2016 workshop. Algorithm 2.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("nadam", (w**2).sum(), learning_rate=0.1)
    >>> train, valid = opt.minimize(max_epochs=300)
    >>> bool(train["loss"] < 1e-6)
    True
    """

    presets = {
        "torch": {"learning_rate": 2e-3, "beta1": 0.9, "beta2": 0.999},
        "optax": {"beta1": 0.9, "beta2": 0.999, "momentum_schedule": False},
        "keras": {**KERAS, "momentum_decay": 1},
    }
    momentum_decay = Hyper(0.004, at_least=0)
    momentum_schedule = Setting(True)
    product = Number(1.0)

    def mu(self, t: Variable) -> Variable:
        """Return the weight of what is remembered at update `t`."""
        base = np.float64(0.96)  # PyTensor makes a plain 0.96 float32 if its floatX is float32
        return self.beta1 * (1 - base ** (t * self.momentum_decay) / 2) if self.momentum_schedule else self.beta1

    def direction(  # type: ignore[override]  # states come by name
        self, param: Variable, grad: Variable, m: Variable, v: Variable, product: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        m_t = ema(self.beta1, m, grad)
        v_t = ema(self.beta2, v, grad**2)
        mu, mu_next = self.mu(self.t), self.mu(self.t + 1)
        product_t = product * mu
        m_hat = mu_next / (1 - product_t * mu_next) * m_t + (1 - mu) / (1 - product_t) * grad
        v_hat = v_t / (1 - self.beta2**self.t)
        return m_hat / self.denominator(v_hat), {"m": m_t, "v": v_t, "product": product_t}


class NAdamW(NAdam):
    r"""NAdamW: NAdam with weight decay beside the step, not in the gradient.

    .. math::
        \theta_t = \theta_{t-1} - \eta\, \hat m_t / (\sqrt{\hat v_t} + \epsilon) - \eta\, \lambda\, \theta_{t-1}

    with :math:`\hat m_t` and :math:`\hat v_t` as for `NAdam`.

    Parameters
    ----------
    learning_rate, beta1, beta2, beta1_halflife, beta2_halflife, epsilon, epsilon_at
        As for `Adam`, with its defaults.
    momentum_decay, momentum_schedule
        As for `NAdam`.
    weight_decay : float, optional
        As for `AdamW`; symbol :math:`\lambda`. Must be at least 0. Default 0.01.
    decay : {'decoupled', 'coupled', 'independent', 'proximal'}, optional
        As for `Optimizer`, but ``'decoupled'`` by default.

    Notes
    -----
    With ``beta1=0.9, beta2=0.999`` equal to ``torch.optim.NAdam(lr, weight_decay=0.01, decoupled_weight_decay=True)``;
    with ``momentum_schedule=False, weight_decay=1e-4`` too to ``optax.nadamw(learning_rate)``. Keras has none.

    References
    ----------
    .. [1] T. Dozat (2016). "Incorporating Nesterov momentum into Adam." ICLR 2016 workshop. Algorithm 2.
    .. [2] I. Loshchilov and F. Hutter (2017). "Decoupled weight decay regularization." arXiv:1711.05101.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("nadamw", (w**2).sum(), learning_rate=0.1)
    >>> train, valid = opt.minimize(max_epochs=300)
    >>> bool(train["loss"] < 1e-6)
    True
    """

    presets = {
        "torch": NAdam.presets["torch"],
        "optax": {**NAdam.presets["optax"], "weight_decay": 1e-4},
    }
    weight_decay = AdamW.weight_decay
    decay = AdamW.decay


class RAdam(Adam):
    r"""RAdam: Adam that begins with plain momentum, until it knows how large gradients are.

    The mean square of few gradients is itself a guess. As long as its variance would be infinite the step is the
    corrected mean alone; then it is Adam's, shortened by what is left of the uncertainty. So no warm-up of the
    learning rate is needed.

    .. math::
        \begin{aligned}
        m_t &= \beta_1\, m_{t-1} + (1 - \beta_1)\, g_t \\
        v_t &= \beta_2\, v_{t-1} + (1 - \beta_2)\, g_t^2 \\
        \hat m_t &= m_t / (1 - \beta_1^t) \\
        \hat v_t &= v_t / (1 - \beta_2^t) \\
        \rho_\infty &= 2 / (1 - \beta_2) - 1, \quad \rho_t = \rho_\infty - 2 t \beta_2^t / (1 - \beta_2^t) \\
        r_t &= \sqrt{\frac{(\rho_t - 4) (\rho_t - 2) \rho_\infty}{(\rho_\infty - 4) (\rho_\infty - 2) \rho_t}} \\
        \theta_t &= \theta_{t-1} - \eta \begin{cases}
            r_t\, \hat m_t / (\sqrt{\hat v_t} + \epsilon) & \rho_t > \rho_{\min} \\ \hat m_t & \text{otherwise}
            \end{cases}
        \end{aligned}

    Parameters
    ----------
    learning_rate, beta1, beta2, beta1_halflife, beta2_halflife, epsilon, epsilon_at
        As for `Adam`, with its defaults.
    threshold : float, optional
        From how many effective gradients on the mean square counts; symbol :math:`\rho_{\min}`. Must be above 4.
        Default 5.

    Notes
    -----
    With ``beta1=0.9, beta2=0.999`` equal to ``optax.radam(learning_rate)``, with ``epsilon_at='hat'`` too to
    ``torch.optim.RAdam(lr)``. The paper's threshold is 4, where :math:`r_t = 0`; its authors' code has 5. Where
    :math:`\beta_2` is so small that :math:`\rho_\infty` is below the threshold, this is momentum for ever.

    References
    ----------
    .. [1] L. Liu et al. (2019). "On the variance of the adaptive learning rate and beyond." arXiv:1908.03265.
       Algorithm 2.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("radam", (w**2).sum(), learning_rate=0.1)
    >>> train, valid = opt.minimize(max_epochs=300)
    >>> bool(train["loss"] < 1e-6)
    True
    """

    presets = {
        "torch": {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon_at": "hat"},
        "optax": {"beta1": 0.9, "beta2": 0.999},
    }
    threshold = Hyper(5.0, above=4)

    def direction(
        self, param: Variable, grad: Variable, m: Variable, v: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        m_t = ema(self.beta1, m, grad)
        v_t = ema(self.beta2, v, grad**2)
        m_hat = m_t / (1 - self.beta1**self.t)
        v_hat = v_t / (1 - self.beta2**self.t)
        rho_inf = 2 / (1 - self.beta2) - 1
        rho = rho_inf - 2 * self.t * self.beta2**self.t / (1 - self.beta2**self.t)
        rectified = self.rectification(rho, rho_inf) * m_hat / self.denominator(v_hat)
        return pt.switch(rho > self.threshold, rectified, m_hat), {"m": m_t, "v": v_t}

    def rectification(self, rho: Variable, rho_inf: Variable) -> Variable:
        """Return :math:`r_t`, and some number where it is not used: there it has no root."""
        rho, top = pt.maximum(rho, self.threshold), pt.maximum(rho_inf, self.threshold)
        return pt.sqrt((rho - 4) * (rho - 2) * top / ((top - 4) * (top - 2) * rho))
