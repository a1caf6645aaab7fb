"""ADAGRAD: rates that fall with the gradients seen."""

from __future__ import annotations

from ..base import Optimizer
from ..symbolic.formulas import root
from ..symbolic.graph import Variable
from ..symbolic.hyper import Hyper, Setting
from ..symbolic.state import Zeros


class ADAGRAD(Optimizer):
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

    epsilon = Hyper(1e-8, "rms_regularizer", at_least=0)
    epsilon_at = Setting("outside", ("outside", "inside"))
    initial_accumulator = Hyper(0.0, at_least=0)
    g2 = Zeros()

    def direction(self, param: Variable, grad: Variable, g2: Variable) -> tuple[Variable, dict[str, Variable]]:
        g2_t = g2 + grad**2
        return grad / root(self.initial_accumulator + g2_t, self.epsilon, self.epsilon_at), {"g2": g2_t}
