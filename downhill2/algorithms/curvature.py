"""Algorithms that look at the curvature of the loss."""

from __future__ import annotations

from ..symbolic.algorithm import Algorithm
from ..symbolic.formulas import ema, root
from ..symbolic.graph import Variable
from ..symbolic.hyper import Hyper, Setting
from ..symbolic.state import Generator, Zeros


class ESGD(Algorithm):
    r"""Equilibrated SGD: divide the gradient by the recent root mean square of Hessian rows.

    Where the loss is strongly curved, of either sign, steps have to be small. The product of the Hessian with a
    standard normal vector has, in each element, the norm of that row of the Hessian as its root mean square;
    dividing by a moving average of it evens the curvature out, near saddle points too.

    .. math::
        \begin{aligned}
        r_t &\sim \mathcal{N}(0, 1) \\
        D_{t+1} &= \rho\, D_t + (1 - \rho)\, (H_t r_t)^2 \\
        \theta_{t+1} &= \theta_t - \eta\, \frac{g_t}{\sqrt{D_{t+1}} + \epsilon}
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        Factor of the equilibrated gradient, in the units of the parameter; symbol :math:`\eta`. Must be at least
        0. Default 1e-4.
    rho : float, optional
        Decay of the average; symbol :math:`\rho`. Must be in [0, 1). Default 0.952, a half-life of 14.
    rms_halflife : float, optional
        Half-life of the average in updates, in place of `rho`: ``rho = 2**(-1/rms_halflife)``. Default 14.
    epsilon, rms_regularizer : float, optional
        Keeps the quotient finite, in units of the Hessian times the parameter; symbol :math:`\epsilon`. Must be
        at least 0. Default 1e-8.
    hv_method : {'rop', 'lop', 'grad'}, optional
        How the product is computed: the gradient pushed forward, pulled back, or the gradient of the gradient's
        product with the vector. All give the same product; which is fastest depends on the loss. Default
        ``'rop'``.
    seed : int, optional
        Seed of the normal numbers. Default 0.

    Notes
    -----
    The Hessian is that of the loss over all parameters together, as in the paper; downhill took one block per
    parameter. The paper averages over all updates and takes a new product every 20 updates; here the average
    moves and every update has its product. No counterpart in torch or optax.

    References
    ----------
    .. [1] Y. Dauphin, H. de Vries and Y. Bengio (2015). "Equilibrated adaptive learning rates for non-convex
       optimization." arXiv:1502.04390. Algorithm 1.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> loss = (np.array([1.0, 100.0]) * w**2).sum()
    >>> opt = downhill2.build("esgd", loss, learning_rate=0.1)
    >>> train, valid = opt.minimize(max_epochs=200)
    >>> bool(train["loss"] < 1e-3)
    True
    """

    scope = "all"
    needs = ("hvp",)
    presets = {"downhill": {}}
    rho = Hyper(halflife=14, keyword="rms_halflife")
    epsilon = Hyper(1e-8, "rms_regularizer", at_least=0)
    hv_method = Setting("rop", ("rop", "lop", "grad"))
    seed = Setting(0)
    D, rng = Zeros(), Generator()

    @property
    def ewma(self) -> Variable:
        """The decay `rho`, by its name in downhill."""
        return self.rho

    def direction(
        self, param: Variable, grad: Variable, D: Variable, rng: Variable
    ) -> tuple[Variable, dict[str, Variable]]:
        rng_t, r = rng.normal(size=param.shape, dtype=param.dtype)
        D_t = ema(self.rho, D, self.hvp(r, self.hv_method) ** 2)
        return grad / root(D_t, self.epsilon, "outside"), {"D": D_t, "rng": rng_t}
