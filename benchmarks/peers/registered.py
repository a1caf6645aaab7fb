"""Any registered algorithm on one large vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor

import downhill2
from downhill2.compiling import fast_mode

from ..timing import Contender, stepping


def update(algo: str, n: int) -> tuple[Contender, Any]:
    """Return the update of `n` parameters, the loss left out, and the optimizer.

    The gradient is a given vector; where the rule asks for more than the gradient, that vector times the parameter,
    so that there are curvature and a minimum: the same bytes.
    """
    rng = np.random.default_rng(7)
    p, c = (pytensor.shared(rng.uniform(0.5, 1.5, n).astype("f"), name=name, shape=(n,)) for name in "pc")
    needs = downhill2.Optimizer.registry[algo].needs
    loss = 0.5 * (c * p**2).sum() if needs else (c * p).sum()
    opt = downhill2.build(algo, loss, [p])
    step = pytensor.function([], [], updates=opt.get_updates(), mode=fast_mode(), trust_input=True)
    return stepping(step, [()], lambda: [p.get_value()], lambda _: None), opt


def traffic(opt: Any, n: int) -> int:
    """Return the bytes that an update reads and writes: the gradient once, parameter and state twice."""
    state = sum(np.asarray(v).nbytes for v in opt.state.values() if not isinstance(v, np.random.Generator))
    return 4 * n + 2 * (4 * n + state)
