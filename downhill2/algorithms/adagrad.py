"""ADAGRAD: rates that fall with the gradients seen."""

from __future__ import annotations

import pytensor.tensor as pt

from ..symbolic.algorithm import Algorithm
from ..symbolic.declared import Hyper, Setting, with_default
from ..symbolic.formulas import root
from ..symbolic.graph import Variable
from ..symbolic.options import Count
from ..symbolic.state import State, Zeros


class ADAGRAD(Algorithm):
    r"""ADAGRAD: divide each element's rate by the root of the sum of its squared gradients.

    Elements with large or frequent gradients soon take small steps, rare ones keep taking large steps: good for
    sparse data. The sum only grows, so all steps shrink to nothing in the end.

    .. math::
        \begin{aligned}
        G_{t+1} &= G_t + g_t^2 \\
        \theta_{t+1} &= \theta_t - \eta\, \frac{g_t}{\sqrt{a + G_{t+1}} + \epsilon}
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        Size of the first steps, in the units of the parameter; symbol :math:`\eta`. Default 1e-4.
    epsilon, rms_regularizer : float, optional
        Keeps the quotient finite, in the units of the gradient; symbol :math:`\epsilon`. Must be at least 0.
        Default 1e-8.
    epsilon_at : {'outside', 'inside'}, optional
        Whether epsilon is added to the root, or, squared gradients being its unit then, under it.
        Default ``'outside'``.
    initial_accumulator : float, optional
        What the sum starts at, in squared units of the gradient; symbol :math:`a`. Must be at least 0. Default 0.

    Notes
    -----
    Equal to ``torch.optim.Adagrad(lr, eps=1e-10)`` with ``epsilon=1e-10``; to ``optax.adagrad(learning_rate)``
    and Keras' Adagrad with ``initial_accumulator=0.1, epsilon=1e-7, epsilon_at='inside'``.
    downhill added epsilon under the root and documented it outside; it stands outside here.

    References
    ----------
    .. [1] J. Duchi, E. Hazan and Y. Singer (2011). "Adaptive subgradient methods for online learning and
       stochastic optimization." JMLR 12. Fig. 1, with a diagonal matrix.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("adagrad", (w**2).sum(), learning_rate=1)
    >>> train, valid = opt.minimize(max_epochs=100)
    >>> bool(train["loss"] < 1e-6)
    True
    """

    presets = {
        "torch": dict(learning_rate=0.01, epsilon=1e-10),
        "optax": dict(initial_accumulator=0.1, epsilon=1e-7, epsilon_at="inside"),
        "keras": dict(
            learning_rate=1e-3, initial_accumulator=0.1, epsilon=1e-7, epsilon_at="inside", decay="decoupled"
        ),
        "downhill": {},
    }
    epsilon = Hyper(1e-8, "rms_regularizer", at_least=0)
    epsilon_at = Setting("outside", ("outside", "inside"))
    initial_accumulator = Hyper(0.0, at_least=0)
    g2 = Zeros()

    def direction(self, param: Variable, grad: Variable, g2: Variable) -> tuple[Variable, dict[str, Variable]]:
        g2_t = g2 + grad**2
        return grad / root(self.initial_accumulator + g2_t, self.epsilon, self.epsilon_at), {"g2": g2_t}


class AdagradWindow(Algorithm):
    r"""ADAGRAD over a window: divide by the root of the sum of the latest squared gradients alone.

    ADAGRAD's steps shrink for ever, since its sum only grows. A sum over the last `window` gradients forgets the
    beginning; in exchange it has to remember them.

    .. math::
        \begin{aligned}
        G_t &= \textstyle\sum_{i = \max(1, t - n + 1)}^t g_i^2 \\
        \theta_t &= \theta_{t-1} - \eta\, \frac{g_t}{\sqrt{G_t + \epsilon}}
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        Size of the first steps, in the units of the parameter; symbol :math:`\eta`. Must be at least 0.
        Default 0.001.
    epsilon, rms_regularizer : float, optional
        Keeps the quotient finite, in squared units of the gradient; symbol :math:`\epsilon`. Must be at least 0.
        Default 0.1.
    epsilon_at : {'inside', 'outside'}, optional
        Whether epsilon is added under the root, or to it (in units of the gradient then). Default ``'inside'``.
    window : int, optional
        How many gradients are summed; symbol :math:`n`. At least 1. Default 10.

    Notes
    -----
    Equal to PyMC's ``adagrad_window(learning_rate, epsilon, n_win)``. Its state is `window` times as large as the
    parameters. torch, optax and Keras have none.

    References
    ----------
    .. [1] J. Salvatier, T. V. Wiecki and C. Fonnesbeck (2016). "Probabilistic programming in Python using PyMC3."
       PeerJ Computer Science 2:e55. The software's ``adagrad_window``.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("adagradwindow", (w**2).sum(), learning_rate=0.3)
    >>> train, valid = opt.minimize(max_epochs=100)
    >>> bool(train["loss"] < 1e-6)
    True
    """

    scope = "tensor"  # its state has one axis more than the parameter
    learning_rate = with_default(Algorithm.learning_rate, 1e-3)
    epsilon = Hyper(0.1, "rms_regularizer", at_least=0)
    epsilon_at = Setting("inside", ("inside", "outside"))
    window = Count(10, least=1)
    squares = State(shape=lambda rule, value: (rule.window, *value.shape))

    def direction(self, param: Variable, grad: Variable, squares: Variable) -> tuple[Variable, dict[str, Variable]]:
        squares_t = pt.concatenate([grad[None] ** 2, squares[:-1]])
        return grad / root(squares_t.sum(axis=0), self.epsilon, self.epsilon_at), {"squares": squares_t}
