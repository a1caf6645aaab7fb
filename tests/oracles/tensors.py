"""Rules with norms and means over a tensor in NumPy, written from the papers and the libraries; see `reference`."""

from __future__ import annotations

import numpy as np

from .reference import Rule, adam


def norm(x):
    return np.sqrt(np.sum(x**2))


def lars(*, trust: float = 0.001, epsilon: float = 0, weight_decay: float = 0, apart: bool = False) -> Rule:
    """Return LARS of You et al. (2017), algorithm 1; `apart` is the paper's own denominator."""

    def direction(g, s, t):
        x, u = s["x"], g + weight_decay * s["x"]
        below = norm(g) + weight_decay * norm(x) if apart else norm(u)
        return u * (trust * norm(x) / (below + epsilon) if norm(x) and norm(g if apart else u) else 1)

    return direction


def lamb(*, beta1: float, beta2: float, epsilon: float, weight_decay: float = 0) -> Rule:
    """Return LAMB of You et al. (2019), algorithm 2."""
    inner = adam(beta1=beta1, beta2=beta2, epsilon=epsilon)

    def direction(g, s, t):
        x = s["x"]
        u = inner(g, s, t) + weight_decay * x
        return u * (norm(x) / norm(u) if norm(x) and norm(u) else 1)

    return direction


def novograd(*, beta1: float, beta2: float, epsilon: float, weight_decay: float = 0) -> Rule:
    """Return NovoGrad of Ginsburg et al. (2019), algorithm 1."""

    def direction(g, s, t):
        s["v"] = norm(g) ** 2 if t == 1 else beta2 * s["v"] + (1 - beta2) * norm(g) ** 2
        s["m"] = beta1 * s["m"] + g / (np.sqrt(s["v"]) + epsilon) + weight_decay * s["x"]
        return s["m"]

    return direction


def fromage(*, least: float = 1e-6) -> Rule:
    """Return Fromage of Bernstein et al. (2020), algorithm 1; what it returns has the rate in it."""

    def direction(g, s, t):
        x, rate = s["x"], s["rate"]
        moved = x - rate * g * max(norm(x), least) / max(norm(g), least)
        return x - moved / np.sqrt(1 + rate**2)

    return direction


def sm3(*, beta: float, epsilon: float) -> Rule:
    """Return SM3-II of Anil et al. (2019), with a moving average of its steps."""

    def direction(g, s, t):
        axes = range(g.ndim)
        covers = s["covers"] or [np.zeros(n) for n in g.shape]
        least = np.zeros(g.shape) if covers else np.asarray(s["v"])
        if covers:
            least = np.min([np.broadcast_to(np.expand_dims(c, tuple(a for a in axes if a != i)), g.shape)
                            for i, c in enumerate(covers)], axis=0)  # fmt: skip
        v = least + g**2
        s["v"] = v
        s["covers"] = [v.max(axis=tuple(a for a in axes if a != i)) for i in axes]
        u = np.where(v > 0, g / np.sqrt(v + epsilon), 0)
        s["m"] = beta * s["m"] + (1 - beta) * u
        return s["m"]

    return direction


def adafactor(
    *,
    floor: float = 0,
    added: float = 0,
    scale_floor: float = 1e-3,
    clip: float = 1,
    relative: bool = True,
    scaled: bool = True,
    factor_from: int = 1,
    exponent: float = 0.8,
) -> Rule:
    """Return Adafactor of Shazeer and Stern (2018), algorithms 4 and 5; what it returns has the rate in it."""

    def rms(x):
        return np.sqrt(np.mean(x**2))

    def estimate(square, s, beta, axes):
        if axes is None:
            s["v"] = beta * s["v"] + (1 - beta) * square
            return np.maximum(s["v"], floor**2)
        i, j = axes
        s["r"] = beta * s["r"] + (1 - beta) * square.mean(axis=j, keepdims=True)
        s["c"] = beta * s["c"] + (1 - beta) * square.mean(axis=i, keepdims=True)
        whole = np.maximum(s["r"].mean(axis=i, keepdims=True), floor)
        return np.maximum(s["r"] * s["c"] / whole, floor**2)

    def direction(g, s, t):
        axes = tuple(int(a) for a in np.argsort(g.shape)[-2:]) if factor_from > 1 else (g.ndim - 2, g.ndim - 1)
        if g.ndim < 2 or min(g.shape[a] for a in axes) < factor_from:
            axes = None
        u = g / np.sqrt(estimate(g**2 + added, s, 1 - t**-exponent, axes))
        u = u / max(1, rms(u) / clip)
        rate = min(s["rate"], 1 / np.sqrt(t)) if relative else s["rate"]
        return u * rate * (max(scale_floor, rms(s["x"])) if scaled else 1)

    return direction
