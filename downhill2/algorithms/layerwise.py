"""Steps whose size follows that of the parameter: norms over a tensor, a layer's."""

from __future__ import annotations

import pytensor.tensor as pt

from ..symbolic.algorithm import Algorithm
from ..symbolic.declared import Decay, Hyper, Setting, with_default
from ..symbolic.formulas import ema, norm, sum_of_squares, times
from ..symbolic.graph import Variable
from ..symbolic.state import Number, Zeros
from ..symbolic.transforms import Momentum
from .adam import Adam


def trust(param_size: Variable, step_size: Variable) -> Variable:
    """Return the quotient of two norms; 1 where one is zero, or a parameter at zero would never move."""
    return pt.switch(pt.or_(pt.eq(param_size, 0), pt.eq(step_size, 0)), 1, param_size / step_size)


class LARS(Algorithm):
    r"""LARS: layer-wise adaptive rates, for large batches.

    A step that is large beside its layer's weights makes training diverge, and layers differ widely in this. Here each
    parameter's step has a norm in proportion to the parameter's own. Made for SGD with momentum and batches of
    thousands.

    .. math::
        \begin{aligned}
        u_t &= g_t + \lambda\, \theta_t \\
        r_t &= \tau\, \|\theta_t\| / (\|u_t\| + \epsilon) \\
        v_{t+1} &= \mu\, v_t + \eta\, r_t\, u_t \\
        \theta_{t+1} &= \theta_t - v_{t+1}
        \end{aligned}

    The norms are Euclidean, over each parameter; where one of them is 0, :math:`r_t` is 1.

    Parameters
    ----------
    learning_rate : float, optional
        Factor of the step, dimensionless; symbol :math:`\eta`. Must be at least 0. Default 1.
    trust_coefficient : float, optional
        Size of a step relative to the parameter, dimensionless; symbol :math:`\tau`. Must be at least 0. Default 0.001.
    epsilon : float, optional
        Added to the norm in the denominator, in units of the gradient; symbol :math:`\epsilon`. Must be at least 0.
        Default 0.
    norms : {'joint', 'apart'}, optional
        Whether the denominator is the norm of the sum :math:`u_t`, or, as in the paper, the sum of norms
        :math:`\|g_t\| + \lambda \|\theta_t\|`. Default ``'joint'``.
    momentum : float, optional
        As for `Optimizer`; symbol :math:`\mu`. Default 0.9.
    weight_decay : float, optional
        Strength of the decay, part of the equation; symbol :math:`\lambda`. Must be at least 0. Default 0.

    Notes
    -----
    Equal to ``optax.lars(learning_rate, weight_decay)``; with ``norms='apart', epsilon=1e-5, weight_decay=1e-4`` to
    BrainPy's LARS. torch and Keras have no counterpart.

    References
    ----------
    .. [1] Y. You, I. Gitman and B. Ginsburg (2017). "Large batch training of convolutional networks."
       arXiv:1708.03888. Algorithm 1.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("lars", (w**2).sum(), learning_rate=10)
    >>> train, valid = opt.minimize(max_epochs=300)
    >>> bool(train["loss"] < 1e-6)
    True
    """

    scope = "tensor"
    own_decay = True
    presets = {"optax": {}}
    learning_rate = with_default(Algorithm.learning_rate, 1.0)
    momentum = with_default(Momentum.momentum, 0.9)
    decay = Setting("coupled", ("coupled",))
    trust_coefficient = Hyper(0.001, at_least=0)
    epsilon = Hyper(0.0, at_least=0)
    norms = Setting("joint", ("joint", "apart"))

    def direction(self, param: Variable, grad: Variable) -> tuple[Variable, dict[str, Variable]]:
        u = grad + self.weight_decay * param
        size = norm(u) if self.norms == "joint" else norm(grad) + self.weight_decay * norm(param)
        nowhere = pt.or_(pt.eq(norm(param), 0), pt.eq(norm(u if self.norms == "joint" else grad), 0))
        r = pt.switch(nowhere, 1, self.trust_coefficient * norm(param) / (size + self.epsilon))
        return r * u, {}


class LAMB(Adam):
    r"""LAMB: Adam's direction with the norm of the parameter.

    LARS for Adam: how far each parameter moves is a fraction, the learning rate, of its own norm. Trains attention
    models with batches of tens of thousands.

    .. math::
        \begin{aligned}
        u_t &= \hat m_t / (\sqrt{\hat v_t} + \epsilon) + \lambda\, \theta_{t-1} \\
        \theta_t &= \theta_{t-1} - \eta\, \frac{\|\theta_{t-1}\|}{\|u_t\|}\, u_t
        \end{aligned}

    with the averages :math:`\hat m_t, \hat v_t` of `Adam`. The norms are Euclidean, over each parameter; where one of
    them is 0, their quotient counts as 1.

    Parameters
    ----------
    learning_rate : float, optional
        Size of a step relative to the parameter, dimensionless; symbol :math:`\eta`. Must be at least 0. Default 1e-3.
    beta1, beta2, beta1_halflife, beta2_halflife : float, optional
        As for `Adam`. Default 0.9 and 0.999.
    epsilon, epsilon_at
        As for `Adam`. Default 1e-6.
    weight_decay : float, optional
        Strength of the decay; symbol :math:`\lambda`. Must be at least 0. Default 0.
    decay_scaled : bool, optional
        Whether the decay is part of :math:`u_t`, as above, or one of the kinds that `decay` names. Default True.

    Notes
    -----
    Equal to ``optax.lamb(learning_rate, weight_decay)``; with ``epsilon=1e-7, decay_scaled=False, decay='decoupled'``
    to Keras' Lamb. torch has no counterpart.

    References
    ----------
    .. [1] Y. You et al. (2019). "Large batch optimization for deep learning: training BERT in 76 minutes."
       arXiv:1904.00962. Algorithm 2, with the identity for phi.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("lamb", (w**2).sum(), learning_rate=0.03)
    >>> train, valid = opt.minimize(max_epochs=300)
    >>> bool(train["loss"] < 1e-2)
    True
    """

    scope = "tensor"
    presets = {
        "optax": {},
        "keras": {"epsilon": 1e-7, "decay_scaled": False, "decay": "decoupled"},
    }
    learning_rate = with_default(Algorithm.learning_rate, 1e-3)
    beta1, beta2 = Decay(0.9), Decay(0.999)
    epsilon = with_default(Adam.epsilon, 1e-6)
    decay_scaled = Setting(True)

    @property
    def own_decay(self) -> bool:  # type: ignore[override]  # it depends on a setting
        return bool(self.decay_scaled)

    def direction(
        self, param: Variable, grad: Variable, m: Variable, v: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        u, state = super().direction(param, grad, m, v)
        if self.decay_scaled:
            u = u + self.weight_decay * param
        return trust(norm(param), norm(u)) * u, state


class NovoGrad(Algorithm):
    r"""NovoGrad: Adam with one second moment for each layer.

    The gradient of each parameter is divided by an average of its norm, then summed up with momentum: half of Adam's
    memory, and steps that do not depend on the gradient's scale.

    .. math::
        \begin{aligned}
        v_1 &= \|g_1\|^2, \quad v_t = \beta_2\, v_{t-1} + (1 - \beta_2)\, \|g_t\|^2 \\
        m_t &= \beta_1\, m_{t-1} + \frac{g_t}{\sqrt{v_t} + \epsilon} + \lambda\, \theta_{t-1} \\
        \theta_t &= \theta_{t-1} - \eta\, m_t
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        Norm of the first steps, in the units of the parameter; symbol :math:`\eta`. Must be at least 0. Default 0.01.
    beta1 : float, optional
        What remains of the sum of steps; symbol :math:`\beta_1`. Must be in [0, 1). Default 0.9.
    beta2 : float, optional
        Decay of the squared norm; symbol :math:`\beta_2`. Must be in [0, 1). Default 0.25.
    beta1_halflife, beta2_halflife : float, optional
        Half-lives in updates, in place of `beta1` and `beta2`.
    epsilon : float, optional
        Added to the root, in units of the gradient; symbol :math:`\epsilon`. Must be at least 0. Default 1e-6.
    weight_decay : float, optional
        Strength of the decay, part of the equation; symbol :math:`\lambda`. Must be at least 0. Default 0.

    Notes
    -----
    Equal to ``optax.novograd(learning_rate, weight_decay)``. torch and Keras have no counterpart.

    References
    ----------
    .. [1] B. Ginsburg et al. (2019). "Stochastic gradient methods with layer-wise adaptive moments for training of
       deep networks." arXiv:1905.11286. Algorithm 1.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("novograd", (w**2).sum(), learning_rate=0.02)
    >>> train, valid = opt.minimize(max_epochs=300)
    >>> bool(train["loss"] < 0.1)
    True
    """

    scope = "tensor"
    own_decay = True
    presets = {"optax": {}}
    learning_rate = with_default(Algorithm.learning_rate, 0.01)
    decay = Setting("coupled", ("coupled",))
    beta1, beta2 = Decay(0.9), Decay(0.25)
    epsilon = Hyper(1e-6, at_least=0)
    m, v = Zeros(), Number()

    def direction(
        self, param: Variable, grad: Variable, m: Variable, v: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        size = sum_of_squares(grad)
        v_t = pt.switch(pt.eq(self.t, 1), size, ema(self.beta2, v, size))
        m_t = self.beta1 * m + times(1 / (pt.sqrt(v_t) + self.epsilon), grad) + self.weight_decay * param
        return m_t, {"m": m_t, "v": v_t}


class Fromage(Algorithm):
    r"""Fromage: steps of a fixed size relative to each layer, which never let it grow.

    Derived from how far a deep network's function moves when its layers do: each layer turns by the same angle. One
    rate serves all layers, and 0.01 most networks.

    .. math::
        \theta_{t+1} = \frac{1}{\sqrt{1 + \eta^2}} \left( \theta_t - \eta\, \frac{\|\theta_t\|}{\|g_t\|}\, g_t \right)

    The norms are Euclidean, over each parameter, and count as `min_norm` where they are less.

    Parameters
    ----------
    learning_rate : float, optional
        Size of a step relative to the parameter, dimensionless; symbol :math:`\eta`. Must be at least 0. Default 0.01.
    min_norm : float, optional
        The least value of both norms; must be positive. Default 1e-6.

    Notes
    -----
    Equal to ``optax.fromage(learning_rate)``. torch and Keras have no counterpart. Parameters shrink by the first
    factor even where the gradient is zero.

    References
    ----------
    .. [1] J. Bernstein, A. Vahdat, Y. Yue and M.-Y. Liu (2020). "On the distance between two neural networks and the
       stability of learning." arXiv:2002.03432. Algorithm 1.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("fromage", (w**2).sum(), learning_rate=0.1)
    >>> train, valid = opt.minimize(max_epochs=100)
    >>> bool(train["loss"] < 1e-3)
    True
    """

    scope = "tensor"
    owns_rate = True
    presets = {"optax": {}}
    learning_rate = with_default(Algorithm.learning_rate, 0.01)
    min_norm = Hyper(1e-6, above=0)

    def direction(self, param: Variable, grad: Variable) -> tuple[Variable, dict[str, Variable]]:
        turn = self.rate * pt.maximum(norm(param), self.min_norm) / pt.maximum(norm(grad), self.min_norm)
        return param - (param - times(turn, grad)) / pt.sqrt(1 + self.rate**2), {}
