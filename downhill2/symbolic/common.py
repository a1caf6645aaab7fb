"""The settings that every algorithm takes besides its own: what happens before and after its equation."""

from __future__ import annotations

from .accumulation import Accumulate
from .averaging import EMA, SWA, Lookahead
from .functional import Transforms
from .hyper import Setting
from .projections import Project
from .rule import Rule
from .sharpness import SAM
from .transforms import (
    Centralize,
    ClipAdaptive,
    ClipElement,
    ClipGlobalNorm,
    ClipNorm,
    GradientNoise,
    Mechanic,
    Momentum,
    WeightDecay,
)


class Common(Rule):
    """A rule with the settings of all stages, each declared by the stage that uses it.

    They act in this order: `accumulate` or `sam`, `centralize`, `max_gradient_elem` or `max_gradient_norm`,
    `max_global_norm`, `clip_adaptive`, `gradient_noise`, `transforms`, coupled `weight_decay`, the algorithm,
    `momentum` and the learning rate, other `weight_decay`, `mechanic`, `project`, `lookahead`, `ema` or `swa`.

    Those with options are switched on by a number, by True (with the number given below), or by a dict: of
    ``gradient_noise=dict(eta=0.1, gamma=0.55)`` the hyperparameters are `gradient_noise` and `gradient_noise_gamma`.

    Parameters
    ----------
    accumulate : int
        Batches that make one update, at least 1. Their gradients are averaged, weighted by rows, so that they count as
        one large batch does; an epoch's end makes an update from those that are left over. Losses and monitors are
        reported for each batch; `max_updates`, schedules and averages count updates. A batch that is not finite is
        left out, under ``on_nonfinite='skip'``, and the next one takes its place. Default 1.
    reduction : {'mean', 'sum'}
        Whether the loss of a batch is a mean over its rows or a sum, so that gradients are added. Default ``'mean'``.
    sam : float, or dict of rho (0.05) and adaptive (False)
        Distance at which gradients are taken, uphill, in units of the parameters (adaptive: relative to the magnitude
        of each element); at least 0. Losses are those where the parameters are. A step costs two gradients.
        Default 0: where the parameters are.
    centralize : bool
        Whether from each slice of a gradient along its first axis the mean is subtracted, as optax does; not from
        vectors. Default False.
    clip_adaptive : float, or dict of clipping (0.01) and epsilon (1e-3)
        Largest norm of a unit's gradient relative to the norm of the unit, which counts as `epsilon` at least. Units
        are those of optax: what lies along all axes but the last (of three axes: along the first); a scalar or vector.
        Default 0: no limit.
    gradient_noise : float, or dict of eta (0.01), gamma (0.55) and seed (0)
        Variance of the normal numbers added to the gradient at the first update, in units of the gradient squared; at
        update t it is ``eta / t**gamma``. They are added after clipping, which would make the variance another; code
        elsewhere has either order. Default 0: none.
    transforms : sequence of functions
        Each is given a parameter and its gradient so far, as PyTensor expressions, and returns the gradient. State is
        declared as default values: ``def f(param, grad, v=downhill2.Zeros()): ...; return new_grad, dict(v=v_t)``.
        Default: none.
    mechanic : float, or dict of s_init (1e-6), decay (0.01), epsilon (1e-8) and betas (6)
        First factor of the steps, which is then learned; take 1 for the learning rate, or a schedule that begins
        with 1. Equal to ``optax.contrib.mechanize``. Default 0: the steps stay as they are; where a schedule comes to
        0, only nothing new is staked.
    project : dict
        Of parameters, by variable or name pattern, and the sets to keep them in, of `downhill2.projections`, or any
        function of a new value. What a parameter starts with stays until the first update. Default: none.
    lookahead : int, or dict of k (5) and alpha (0.5)
        Updates after which parameters go back to a slow point, which has moved by the fraction alpha towards them.
        The slow point is evaluated, kept and restored. Default 0: never.
    ema : float, or dict of decay (0.999) and debias (False)
        What remains, from update to update, of the weights of an average of parameters, in [0, 1). The average is
        evaluated, kept and restored. It begins with the value after the first update, which keeps a large weight for
        long unless `debias` gives all values the relative weights of a long run. Default 0: no average.
    swa : int, or dict of start (1) and every (1)
        The first update after which parameters are averaged; then after every so many. The average is evaluated, kept
        and restored. Default 0: no average.
    """

    accumulate, reduction = Accumulate.accumulate, Accumulate.reduction
    sam, sam_adaptive = SAM.sam, SAM.sam_adaptive
    centralize = Centralize.centralize
    max_gradient_elem = ClipElement.max_gradient_elem
    max_gradient_norm = ClipNorm.max_gradient_norm
    max_global_norm = ClipGlobalNorm.max_global_norm
    clip_adaptive, clip_adaptive_epsilon = ClipAdaptive.clip_adaptive, ClipAdaptive.clip_adaptive_epsilon
    gradient_noise, gradient_noise_gamma = GradientNoise.gradient_noise, GradientNoise.gradient_noise_gamma
    gradient_noise_seed = GradientNoise.gradient_noise_seed
    transforms = Transforms()
    momentum, nesterov, momentum_rate = Momentum.momentum, Momentum.nesterov, Momentum.momentum_rate
    weight_decay, decay = WeightDecay.weight_decay, WeightDecay.decay
    mechanic, mechanic_decay = Mechanic.mechanic, Mechanic.mechanic_decay
    mechanic_epsilon, mechanic_betas = Mechanic.mechanic_epsilon, Mechanic.mechanic_betas
    project = Project()
    lookahead, lookahead_alpha = Lookahead.lookahead, Lookahead.lookahead_alpha
    ema, ema_debias = EMA.ema, EMA.ema_debias
    swa, swa_every = SWA.swa, SWA.swa_every
    frozen = Setting(False)


# whose state would be taken for that of an algorithm of their name
STAGES = (Accumulate, GradientNoise, Momentum, Mechanic, Lookahead, EMA, SWA)
