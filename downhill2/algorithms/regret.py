"""Algorithms of online learning: follow the leader, bet, guess the next gradient."""

from __future__ import annotations

import pytensor.tensor as pt

from ..symbolic.algorithm import Algorithm
from ..symbolic.declared import Hyper, Setting, with_default
from ..symbolic.graph import Variable
from ..symbolic.state import Copy, Zeros
from .adam import Adam


class FTRL(Algorithm):
    r"""FTRL-proximal: go where all gradients so far, with a penalty, would have been best.

    The regularized leader is the minimum of the sum of all linear losses seen, plus terms that keep it near its
    earlier points, plus penalties. Since the penalty of absolute values is applied to that minimum and not step by
    step, it makes parameters exactly zero: sparse models of click rates are what it was made for.

    .. math::
        \begin{aligned}
        n_t &= n_{t-1} + g_t^2 \\
        \sigma_t &= ((a + n_t)^p - (a + n_{t-1})^p) / \eta \\
        z_t &= z_{t-1} + g_t + 2\, \lambda_s\, \theta_{t-1} - \sigma_t\, \theta_{t-1} \\
        \theta_t &= -\frac{\mathrm{sign}(z_t) \max(|z_t| - \lambda_1, 0)}
            {(\beta + (a + n_t)^p) / \eta + 2\, \lambda_2}
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        Scale of steps, in the units of the parameter; symbol :math:`\eta`. Must be positive. Default 0.001.
    initial_accumulator : float, optional
        What the sum of squared gradients starts at; symbol :math:`a`. Must be at least 0; with 0, `beta` or `l2` has
        to keep the quotient finite. Default 0.1.
    power : float, optional
        How the rate falls with the sum of squares, dimensionless; 0.5 as in ADAGRAD, 0 not at all; symbol :math:`p`.
        Must be at least 0. Default 0.5.
    l1, l2 : float, optional
        Strength of the penalties of absolute values and of squares; symbols :math:`\lambda_1, \lambda_2`. Must be at
        least 0. Default 0.
    l2_shrinkage : float, optional
        Strength of a penalty of squares that acts through gradients; symbol :math:`\lambda_s`. Must be at least 0.
        Default 0.
    beta : float, optional
        Makes the first steps smaller, in units of the gradient; symbol :math:`\beta`. Must be at least 0. Default 0.

    Notes
    -----
    Equal to Keras' Ftrl, whose ``learning_rate_power`` is minus `power`; torch and optax have none. The parameter is a
    function of all gradients, made to start from 0: after a first gradient of 0 it is 0, wherever it was. No epsilon.

    References
    ----------
    .. [1] H. B. McMahan et al. (2013). "Ad click prediction: a view from the trenches." KDD 2013. Algorithm 1.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.zeros(2), name="w")
    >>> opt = downhill2.build("ftrl", ((w - [4.0, -2.0]) ** 2).sum(), learning_rate=1)
    >>> train, valid = opt.minimize(max_epochs=300)
    >>> bool(train["loss"] < 1e-6)
    True
    """

    presets = {"keras": {"decay": "decoupled"}}
    owns_rate = True
    learning_rate = Hyper(1e-3, above=0)
    initial_accumulator = Hyper(0.1, at_least=0)
    power = Hyper(0.5, at_least=0)
    l1 = Hyper(0.0, at_least=0)
    l2 = Hyper(0.0, at_least=0)
    l2_shrinkage = Hyper(0.0, at_least=0)
    beta = Hyper(0.0, at_least=0)
    n, z = Zeros(), Zeros()

    def direction(
        self, param: Variable, grad: Variable, n: Variable, z: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        n_t = n + grad**2
        before, after = (self.initial_accumulator + n) ** self.power, (self.initial_accumulator + n_t) ** self.power
        sigma = (after - before) / self.rate
        z_t = z + grad + (2 * self.l2_shrinkage - sigma) * param
        shrunk = pt.sign(z_t) * pt.maximum(abs(z_t) - self.l1, 0)
        leader = -shrunk / ((self.beta + after) / self.rate + 2 * self.l2)
        return param - leader, {"n": n_t, "z": z_t}


class COCOB(Algorithm):
    r"""COCOB: a gambler who bets on the direction of each element, without a learning rate.

    Each element plays with a coin whose outcomes are its gradients. Its wealth is what earlier steps have won; it bets
    a part of it, the larger the more one-sided outcomes were. Where gradients agree, wealth and steps grow
    exponentially; where they do not, bets become small.

    .. math::
        \begin{aligned}
        L_t &= \max(L_{t-1}, |g_t|) \\
        G_t &= G_{t-1} + |g_t| \\
        R_t &= \max(R_{t-1} - g_t\, (\theta_{t-1} - \theta_0), 0) \\
        C_t &= C_{t-1} - g_t \\
        \theta_t &= \theta_0 + \frac{C_t\, (1 + R_t / L_t)}{L_t \max(1 + G_t / L_t, \alpha)}
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        Fraction of the way to that point to go, dimensionless. Must be at least 0.
        Default 1.
    alpha : float, optional
        Keeps the first bets small: they are at most 1 in `alpha`; symbol :math:`\alpha`. Must be positive.
        Default 100.
    epsilon : float, optional
        What the largest gradient starts at, in units of the gradient: keeps the quotient finite. Must be positive.
        Default 1e-8.

    Notes
    -----
    Equal to ``optax.contrib.cocob()``. The first bet is of one unit of the parameter whatever its scale: parameters
    should be of the order of 1. Its start is remembered: whoever sets parameters in the course of a run calls
    ``opt.reset()``. torch and Keras have none.

    References
    ----------
    .. [1] F. Orabona and T. Tommasi (2017). "Training deep networks without learning rates through coin betting."
       arXiv:1705.07795. Algorithm 2.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("cocob", (w**2).sum())
    >>> train, valid = opt.minimize(max_epochs=400)
    >>> bool(train["loss"] < 0.1)
    True
    """

    presets = {"optax": {}}
    learning_rate = with_default(Algorithm.learning_rate, 1.0)
    alpha = Hyper(100.0, above=0)
    epsilon = Hyper(1e-8, above=0)
    L, G, R, C, x0 = Zeros(), Zeros(), Zeros(), Zeros(), Copy()

    def direction(
        self, param: Variable, grad: Variable, L: Variable, G: Variable, R: Variable, C: Variable, x0: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        x0 = pt.switch(pt.eq(self.t, 1), param, x0)  # parameters may have been set since the state was made
        L_t = pt.maximum(pt.maximum(L, self.epsilon), abs(grad))
        G_t = G + abs(grad)
        R_t = pt.maximum(R - grad * (param - x0), 0)
        C_t = C - grad
        # in units of L, as the product of two of these sums may be too large or too small to hold
        new = x0 + C_t * (1 + R_t / L_t) / (L_t * pt.maximum(1 + G_t / L_t, self.alpha))
        return param - new, {"L": L_t, "G": G_t, "R": R_t, "C": C_t, "x0": x0}


class OptimisticGD(Algorithm):
    r"""Optimistic gradient descent: step against the gradient that is to come, guessed from the last two.

    In games, where two losses pull at each other, gradient descent runs in circles and away. A guess that gradients go
    on changing as they did leads inwards.

    .. math::
        \theta_{t+1} = \theta_t - \eta\, (\alpha\, g_t + \beta\, (g_t - g_{t-1})), \quad g_0 = g_1

    Parameters
    ----------
    learning_rate : float, optional
        Size of a step relative to the gradient, in squared units of the parameter per unit of loss; symbol
        :math:`\eta`. Must be at least 0. Default 1e-4.
    alpha : float, optional
        Weight of the gradient, dimensionless; symbol :math:`\alpha`. Must be at least 0. Default 1.
    beta : float, optional
        Weight of its change, dimensionless; symbol :math:`\beta`. Must be at least 0. Default 1.

    Notes
    -----
    Equal to ``optax.optimistic_gradient_descent(learning_rate, alpha, beta)``. No epsilon. torch and Keras have none.

    References
    ----------
    .. [1] A. Mokhtari, A. Ozdaglar and S. Pattathil (2019). "A unified analysis of extra-gradient and optimistic
       gradient methods for saddle point problems: proximal point approach." arXiv:1901.08511. Section 3.
    .. [2] C. Daskalakis, A. Ilyas, V. Syrgkanis and H. Zeng (2017). "Training GANs with optimism." arXiv:1711.00141.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("optimisticgd", (w**2).sum(), learning_rate=0.1)
    >>> train, valid = opt.minimize(max_epochs=100)
    >>> bool(train["loss"] < 1e-6)
    True
    """

    presets = {"optax": {}}
    alpha = Hyper(1.0, at_least=0)
    beta = Hyper(1.0, at_least=0)
    g = Zeros()

    def direction(self, param: Variable, grad: Variable, g: Variable) -> tuple[Variable, dict[str, Variable]]:
        change = pt.switch(self.t > 1, grad - g, 0)
        return self.alpha * grad + self.beta * change, {"g": grad}


class OptimisticAdam(Adam):
    r"""Optimistic Adam: Adam that steps as it would next time, guessed from its last two directions.

    `OptimisticGD` with Adam's directions in place of gradients: for games such as those of generative adversarial
    networks.

    .. math::
        \begin{aligned}
        u_t &= \hat m_t / (\sqrt{\hat v_t} + \epsilon) \\
        \theta_t &= \theta_{t-1} - \eta\, (\alpha\, u_t + \beta\, (u_t - u_{t-1})), \quad u_0 = u_1
        \end{aligned}

    with :math:`\hat m_t` and :math:`\hat v_t` as for `Adam`.

    Parameters
    ----------
    learning_rate, beta1, beta2, beta1_halflife, beta2_halflife, epsilon, epsilon_at
        As for `Adam`, with its defaults.
    alpha : float, optional
        Weight of the direction, dimensionless; symbol :math:`\alpha`. Must be at least 0. Default 1.
    beta : float, optional
        Weight of its change, dimensionless; symbol :math:`\beta`. Must be at least 0. Default 1.
    form : {'paper', 'optax'}, optional
        Whether :math:`\hat m_t` is Adam's, or (``'optax'``) that of NAdam with a constant :math:`\mu_t = \beta_1`.
        Default ``'paper'``.

    Notes
    -----
    With ``beta1=0.9, beta2=0.999`` equal to ``optax.optimistic_adam_v2(learning_rate, nesterov=False)``, with
    ``form='optax'`` too to its default. torch and Keras have none.

    References
    ----------
    .. [1] C. Daskalakis, A. Ilyas, V. Syrgkanis and H. Zeng (2017). "Training GANs with optimism." arXiv:1711.00141.
       Algorithm 1.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("optimisticadam", (w**2).sum(), learning_rate=0.1)
    >>> train, valid = opt.minimize(max_epochs=300)
    >>> bool(train["loss"] < 1e-4)
    True
    """

    presets = {"optax": {"beta1": 0.9, "beta2": 0.999, "form": "optax"}}
    alpha, beta = OptimisticGD.alpha, OptimisticGD.beta
    form = Setting("paper", ("paper", "optax"))
    u = Zeros()

    def direction(  # type: ignore[override]  # states come by name
        self, param: Variable, grad: Variable, m: Variable, v: Variable, u: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        u_t, new = super().direction(param, grad, m, v)
        change = pt.switch(self.t > 1, u_t - u, 0)
        return self.alpha * u_t + self.beta * change, {**new, "u": u_t}

    def mean(self, m_t: Variable, grad: Variable) -> Variable:
        """Return the corrected mean, or that of optax, which looks ahead."""
        if self.form == "paper":
            return super().mean(m_t, grad)
        beta1 = self.beta1
        return beta1 / (1 - beta1 ** (self.t + 1)) * m_t + (1 - beta1) / (1 - beta1**self.t) * grad
