"""Second moments in less memory than a number for each element."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import pytensor.tensor as pt

from ..symbolic.algorithm import Algorithm
from ..symbolic.declared import Decay, Hyper, Setting, with_default
from ..symbolic.formulas import ema, norm
from ..symbolic.graph import Variable
from ..symbolic.state import State, Zeros
from ..symbolic.transforms import WeightDecay

Shape = tuple[int, ...]


def _others(axis: int, ndim: int) -> tuple[int, ...]:
    """Return all axes but one."""
    return tuple(a for a in range(ndim) if a != axis)


class SM3(Algorithm):
    r"""SM3: ADAGRAD that remembers one number for each row and column.

    A large layer's second moments need as much memory as the layer. Here each slice along each axis keeps the largest
    sum of squares that it has met, and an element takes the least of its slices': never less than ADAGRAD's sum.

    .. math::
        \begin{aligned}
        \nu_t &= \min_i \mu^i_t + g_t^2 \\
        \mu^i_{t+1} &= \max_{\text{all axes but } i} \nu_t \\
        m_{t+1} &= \beta\, m_t + (1 - \beta)\, g_t / \sqrt{\nu_t + \epsilon} \\
        \theta_{t+1} &= \theta_t - \eta\, m_{t+1}
        \end{aligned}

    with one vector :math:`\mu^i` for each axis; the quotient counts as 0 where :math:`\nu_t` is. Vectors and scalars
    have ADAGRAD's sum.

    Parameters
    ----------
    learning_rate : float, optional
        Size of the first steps, in the units of the parameter; symbol :math:`\eta`. Must be at least 0. Default 1e-4.
    beta : float, optional
        Decay of the average of steps; symbol :math:`\beta`. Must be in [0, 1). Default 0.9.
    beta_halflife : float, optional
        Half-life of that average in updates, in place of `beta`.
    epsilon : float, optional
        Added under the root, in squared units of the gradient; symbol :math:`\epsilon`. Must be at least 0.
        Default 1e-8.

    Notes
    -----
    Equal to ``optax.sm3(learning_rate, momentum=beta)``, which takes no scalars; BrainPy's has ``beta=0,
    epsilon=1e-30`` by default. torch and Keras have no counterpart.

    References
    ----------
    .. [1] R. Anil, V. Gupta, T. Koren and Y. Singer (2019). "Memory-efficient adaptive optimization."
       arXiv:1901.11150. Algorithm SM3-II.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([[4.0, -2.0]]), name="w")
    >>> opt = downhill2.build("sm3", (w**2).sum(), learning_rate=1)
    >>> train, valid = opt.minimize(max_epochs=100)
    >>> bool(train["loss"] < 1e-3)
    True
    """

    scope = "tensor"
    needs = ("shape",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {"optax": {}}
    beta = Decay(0.9)
    epsilon = Hyper(1e-8, at_least=0)
    mu = State(0, lambda rule, value: (sum(value.shape) if value.ndim else 1,))
    m = Zeros()

    def direction(
        self, param: Variable, grad: Variable, mu: Variable, m: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        nu = self.least(mu, grad.ndim) + grad**2
        u = pt.switch(nu > 0, grad / pt.sqrt(nu + self.epsilon), 0)
        m_t = ema(self.beta, m, u)
        return m_t, {"mu": self.largest(nu) if math.prod(self.shape) else mu, "m": m_t}

    def least(self, mu: Variable, ndim: int) -> Variable:
        """Return for each element the least of its slices' numbers."""
        if not ndim:
            return mu[0]
        ends = np.cumsum([0, *self.shape]).tolist()
        covers = [pt.expand_dims(mu[ends[i] : ends[i + 1]], _others(i, ndim)) for i in range(ndim)]
        least = covers[0]
        for cover in covers[1:]:
            least = pt.minimum(least, cover)
        return least

    def largest(self, nu: Variable) -> Variable:
        """Return the largest number of each slice, axis by axis."""
        if nu.ndim < 2:
            return pt.reshape(nu, (-1,))
        return pt.concatenate([nu.max(axis=_others(i, nu.ndim)) for i in range(nu.ndim)])


def _axes(rule: Adafactor, shape: Shape) -> tuple[int, int] | None:
    """Return the axes whose means stand for all second moments; None: a tensor of this shape keeps them all."""
    if len(shape) < 2:
        return None
    last = rule.factored_axes == "last"
    i, j = (len(shape) - 2, len(shape) - 1) if last else (int(a) for a in np.argsort(shape, kind="stable")[-2:])
    # an empty tensor has no means
    return (i, j) if min(shape[i], shape[j]) >= max(1, rule.factor_from) else None


def _without(shape: Shape, axis: int) -> Shape:
    return shape[:axis] + shape[axis + 1 :]


def _row_shape(rule: Adafactor, value: np.ndarray) -> Shape:
    axes = _axes(rule, value.shape)
    return _without(value.shape, axes[1]) if axes else (0,)


def _column_shape(rule: Adafactor, value: np.ndarray) -> Shape:
    axes = _axes(rule, value.shape)
    return _without(value.shape, axes[0]) if axes else (0,)


def _whole_shape(rule: Adafactor, value: np.ndarray) -> Shape:
    return (0,) if _axes(rule, value.shape) else value.shape


class Adafactor(Algorithm):
    r"""Adafactor: Adam without a first moment, its second moments factored into rows and columns.

    The squared gradients of a matrix are approximated by the product of their means over rows and over columns: an
    :math:`n \times m` matrix has :math:`n + m` numbers of state. Steps are clipped by their root mean square and
    scaled by the parameter's.

    .. math::
        \begin{aligned}
        \beta_t &= 1 - t^{-c} \\
        R_t &= \beta_t\, R_{t-1} + (1 - \beta_t)\, \mathrm{mean}_j (g_t^2 + \epsilon), \quad
        C_t = \beta_t\, C_{t-1} + (1 - \beta_t)\, \mathrm{mean}_i (g_t^2 + \epsilon) \\
        u_t &= g_t / \sqrt{R_t\, C_t / \mathrm{mean}(R_t)} \\
        \hat u_t &= u_t / \max(1, \mathrm{rms}(u_t) / d) \\
        \theta_t &= \theta_{t-1} - \max(\epsilon_2, \mathrm{rms}(\theta_{t-1}))\, \min(\eta, 1 / \sqrt t)\, \hat u_t
        \end{aligned}

    What is not factored (vectors, small matrices) keeps the average of all squares.

    Parameters
    ----------
    learning_rate : float, optional
        Largest size of a step relative to the parameter, dimensionless; symbol :math:`\eta`. Must be at least 0.
        Default 0.01.
    beta2_decay : float, optional
        How fast the averages become long; symbol :math:`c`. Must be positive. Default 0.8.
    epsilon : float, optional
        Keeps the quotient finite; symbol :math:`\epsilon`. Must be at least 0. Default 1e-30.
    epsilon_at : {'square', 'floor'}, optional
        Whether epsilon is added to squared gradients, being of their unit, or its square is the least value of the
        estimate (and epsilon that of the mean of rows), as in torch. Default ``'square'``.
    epsilon2 : float, optional
        Least root mean square that a parameter counts with, in its units; symbol :math:`\epsilon_2`. Must be at
        least 0. Default 1e-3.
    clip_threshold : float, optional
        Largest root mean square of a step before it is scaled; symbol :math:`d`. Must be positive. Default 1.
    relative_step : bool, optional
        Whether the rate is at most :math:`1 / \sqrt t`. Default True.
    scale_parameter : bool, optional
        Whether steps are scaled by the parameter's root mean square. Default True.
    factor_from : int, optional
        Least size of both axes at which second moments are factored. Default 1: every matrix.
    factored_axes : {'last', 'largest'}, optional
        Which two axes of a tensor with more of them are its rows and columns. Default ``'last'``.
    decay : {'decoupled', 'coupled', 'independent', 'proximal'}, optional
        As for `Optimizer`, but ``'decoupled'`` by default.

    Notes
    -----
    Equal to ``torch.optim.Adafactor(lr)`` with ``epsilon_at='floor'`` and torch's default epsilon, that of the dtype
    (1.19e-7 for float32); to ``optax.adafactor()`` with ``learning_rate=1, relative_step=False, factor_from=128,
    factored_axes='largest', decay='independent'``; to Keras' Adafactor with ``learning_rate=0.001``, whose own
    `relative_step` changes nothing: its rate is at most :math:`1 / \sqrt t` either way.

    References
    ----------
    .. [1] N. Shazeer and M. Stern (2018). "Adafactor: adaptive learning rates with sublinear memory cost."
       arXiv:1804.04235. Algorithms 4 and 5.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([[4.0, -2.0], [1.0, 3.0]]), name="w")
    >>> opt = downhill2.build("adafactor", (w**2).sum(), learning_rate=0.1)
    >>> train, valid = opt.minimize(max_epochs=200)
    >>> bool(train["loss"] < 1e-2)
    True
    """

    scope = "tensor"
    owns_rate = True
    needs = ("shape",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "torch": {"learning_rate": 0.01, "epsilon_at": "floor", "epsilon": float(np.finfo("f4").eps)},
        "optax": {
            "learning_rate": 1.0,
            "relative_step": False,
            "factor_from": 128,
            "factored_axes": "largest",
            "decay": "independent",
        },
        "keras": {"learning_rate": 0.001},
    }
    learning_rate = with_default(Algorithm.learning_rate, 0.01)
    decay = with_default(WeightDecay.decay, "decoupled")
    beta2_decay = Hyper(0.8, above=0)
    epsilon = Hyper(1e-30, at_least=0)
    epsilon_at = Setting("square", ("square", "floor"))
    epsilon2 = Hyper(1e-3, at_least=0)
    clip_threshold = Hyper(1.0, above=0)
    relative_step = Setting(True)
    scale_parameter = Setting(True)
    factor_from = Setting(1)
    factored_axes = Setting("last", ("last", "largest"))
    r, c = State(0, _row_shape), State(0, _column_shape)
    v = State(0, _whole_shape)

    def direction(
        self, param: Variable, grad: Variable, r: Variable, c: Variable, v: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        floor = self.epsilon_at == "floor"
        square = grad**2 if floor else grad**2 + self.epsilon
        size, state = self.size(square, r, c, v)
        u = grad / (pt.maximum(size, self.epsilon) if floor else size)
        u_hat = u / pt.maximum(1, self.rms(u) / self.clip_threshold)
        rate = pt.minimum(self.rate, 1 / pt.sqrt(self.t)) if self.relative_step else self.rate
        scale = pt.maximum(self.epsilon2, self.rms(param)) if self.scale_parameter else 1
        return scale * rate * u_hat, state

    def size(self, square: Variable, r: Variable, c: Variable, v: Variable) -> tuple[Variable, dict[str, Variable]]:
        """Return the estimate of the root mean square, and the new averages."""
        beta, axes = 1 - self.t ** (-self.beta2_decay), _axes(self, self.shape)
        if axes is None:
            v_t = ema(beta, v, square)
            return pt.sqrt(v_t), {"r": r, "c": c, "v": v_t}
        i, j = axes
        rows, columns = self.shape[i], self.shape[j]
        r_t = ema(beta, r, pt.sum(square, axis=j) / columns)
        c_t = ema(beta, c, pt.sum(square, axis=i) / rows)
        mean = pt.sum(r_t, axis=i if i < j else i - 1, keepdims=True) / rows
        if self.epsilon_at == "floor":
            mean = pt.maximum(mean, self.epsilon)
        # roots first: the product of two mean squares may be too large to hold, and PyTensor divides last
        return pt.expand_dims(pt.sqrt(r_t / mean), j) * pt.expand_dims(pt.sqrt(c_t), i), {"r": r_t, "c": c_t, "v": v}

    def rms(self, x: Variable) -> Variable:
        """Return the root mean square of all elements of a tensor like the parameter."""
        return norm(x) / np.sqrt(np.float64(max(1, math.prod(self.shape))))
