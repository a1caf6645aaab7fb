"""Stochastic gradient descent, and with Nesterov's momentum."""

from __future__ import annotations

from ..symbolic.algorithm import Algorithm
from ..symbolic.declared import with_default
from ..symbolic.graph import Variable
from ..symbolic.hyper import Setting
from ..symbolic.transforms import GradientNoise


class SGD(Algorithm):
    r"""Stochastic gradient descent: step against the gradient.

    The gradient of the loss on a mini-batch is an estimate of the gradient on all data; a step against it makes
    the loss smaller on average.

    .. math::
        \theta_{t+1} = \theta_t - \eta\, g_t

    Parameters
    ----------
    learning_rate : float, optional
        Size of a step relative to the gradient, in squared units of the parameter per unit of loss; symbol
        :math:`\eta`. Must be at least 0. Default 1e-4.
    momentum, nesterov, momentum_rate, weight_decay, ...
        As for `Optimizer`.

    Notes
    -----
    With ``momentum_rate='outside'`` equal to ``torch.optim.SGD(lr, momentum, dampening=0, nesterov,
    weight_decay)`` and ``optax.sgd(learning_rate, momentum, nesterov)``, under schedules too. With the default
    ``'inside'`` the velocity sums steps, as in Keras, Lasagne and downhill: the same numbers while the rate is
    constant.

    References
    ----------
    .. [1] H. Robbins and S. Monro (1951). "A stochastic approximation method." Annals of Mathematical
       Statistics 22(3).
    .. [2] D. E. Rumelhart, G. E. Hinton and R. J. Williams (1986). "Learning representations by
       back-propagating errors." Nature 323. For momentum.

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("sgd", (w**2).sum(), learning_rate=0.1, momentum=0.5)
    >>> train, valid = opt.minimize(max_epochs=100)
    >>> bool(train["loss"] < 1e-6)
    True
    """

    presets = {
        "torch": dict(learning_rate=1e-3, momentum_rate="outside"),
        "optax": dict(momentum_rate="outside"),
        "keras": dict(learning_rate=0.01, decay="decoupled"),
        "downhill": {},
    }

    def direction(self, param: Variable, grad: Variable) -> tuple[Variable, dict[str, Variable]]:
        return grad, {}


class NAG(SGD):
    r"""Nesterov's accelerated gradient: momentum that looks ahead.

    Momentum carries the parameters on in the direction of earlier steps. Nesterov's method takes the gradient
    where the velocity is about to carry them, and so corrects the velocity before it overshoots. Written at the
    point where the gradient is taken:

    .. math::
        \begin{aligned}
        v_{t+1} &= \mu\, v_t + \eta\, g_t \\
        \theta_{t+1} &= \theta_t - (\mu\, v_{t+1} + \eta\, g_t)
        \end{aligned}

    Parameters
    ----------
    learning_rate : float, optional
        As for `SGD`; symbol :math:`\eta`. Default 1e-4.
    momentum : float, optional
        What remains of the velocity from update to update, dimensionless; symbol :math:`\mu`. Must be in
        [0, 1). Default 0: plain gradient descent.

    Notes
    -----
    ``SGD(nesterov=True)`` by another name. With ``momentum_rate='outside'`` equal to
    ``torch.optim.SGD(lr, momentum, nesterov=True)`` and ``optax.sgd(learning_rate, momentum, nesterov=True)``.
    The parameters are those of the point where the gradient is taken, as in all these libraries; downhill
    stored another velocity, so that only its first step was Nesterov's.

    References
    ----------
    .. [1] Y. Nesterov (1983). "A method of solving a convex programming problem with convergence rate
       O(1/k^2)." Soviet Mathematics Doklady 27.
    .. [2] Y. Bengio, N. Boulanger-Lewandowski and R. Pascanu (2012). "Advances in optimizing recurrent
       networks." arXiv:1212.0901, eq. (7).

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("nag", (w**2).sum(), learning_rate=0.1, momentum=0.5)
    >>> train, valid = opt.minimize(max_epochs=100)
    >>> bool(train["loss"] < 1e-6)
    True
    """

    nesterov = Setting(True, (True,))


class NoisySGD(SGD):
    r"""Noisy SGD: gradient descent with noise added to gradients, less and less of it.

    Noise shakes the parameters out of bad valleys while it is strong; as it fades they settle.

    .. math::
        \theta_t = \theta_{t-1} - \eta\, (g_t + \varepsilon_t), \quad
        \varepsilon_t \sim \mathcal{N}(0, \sigma^2 / t^\gamma)

    Parameters
    ----------
    learning_rate : float, optional
        As for `SGD`; symbol :math:`\eta`. Default 1e-4.
    gradient_noise : float, optional
        Variance of the noise of the first update, in squared units of the gradient; symbol :math:`\sigma^2`. Must be
        at least 0. Default 0.01.
    gradient_noise_gamma : float, optional
        Power with which the variance falls, dimensionless; symbol :math:`\gamma`. Must be at least 0. Default 0.55.
    gradient_noise_seed : int, optional
        Seed of the noise. Default 0.

    Notes
    -----
    ``SGD(gradient_noise=0.01)`` by another name; every algorithm takes `gradient_noise`. In distribution equal to
    ``optax.noisy_sgd(learning_rate, eta, gamma)`` with ``gradient_noise=eta, gradient_noise_gamma=gamma``; the numbers
    are others. The paper counts updates from 0 and divides by :math:`(1 + t)^\gamma`, which is the same.

    References
    ----------
    .. [1] A. Neelakantan et al. (2015). "Adding gradient noise improves learning for very deep networks."
       arXiv:1511.06807. Eq. (1), (2).

    Examples
    --------
    >>> import numpy as np, pytensor
    >>> w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    >>> opt = downhill2.build("noisysgd", (w**2).sum(), learning_rate=0.1)
    >>> train, valid = opt.minimize(max_epochs=100)
    >>> bool(train["loss"] < 0.01)
    True
    """

    presets = {"optax": SGD.presets["optax"]}
    gradient_noise = with_default(GradientNoise.gradient_noise, 0.01)
