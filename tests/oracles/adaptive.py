"""Adam's family in NumPy, written from the papers and the documentation of the libraries; see `reference`."""

from __future__ import annotations

import numpy as np

from .reference import Rule, root


def moments(g, s, beta1, beta2):
    s["m"] = beta1 * s["m"] + (1 - beta1) * g
    s["v"] = beta2 * s["v"] + (1 - beta2) * g**2
    return s["m"], s["v"]


def amsgrad(*, beta1: float, beta2: float, epsilon: float, form: str = "torch", at: str = "outside") -> Rule:
    """Return AMSGrad of Reddi et al. (2018), algorithm 2, with the corrections that libraries add to it."""

    def direction(g, s, t):
        m, v = moments(g, s, beta1, beta2)
        c1, c2 = 1 - beta1**t, 1 - beta2**t
        s["max"] = np.maximum(s["max"], v / c2 if form == "optax" else v)
        if form == "paper":
            return m / (np.sqrt(s["max"]) + epsilon)
        if form == "optax":
            return m / c1 / (np.sqrt(s["max"]) + epsilon)
        if at == "hat":  # Keras, Lasagne
            return np.sqrt(c2) / c1 * m / (np.sqrt(s["max"]) + epsilon)
        return m / c1 / (np.sqrt(s["max"]) / np.sqrt(c2) + epsilon)

    return direction


def adamax(*, beta1: float, beta2: float, epsilon: float, at: str = "outside") -> Rule:
    """Return Adamax of Kingma and Ba (2015), algorithm 2."""

    def direction(g, s, t):
        s["m"] = beta1 * s["m"] + (1 - beta1) * g
        s["u"] = np.maximum(beta2 * s["u"], np.abs(g) + epsilon * (at == "inside"))
        return s["m"] / ((1 - beta1**t) * (s["u"] + epsilon * (at == "outside")))

    return direction


def nadam(*, beta1: float, beta2: float, epsilon: float, decay: float = 0.004) -> Rule:
    """Return NAdam of Dozat (2016), algorithm 2, as torch writes it; Keras has a `decay` of 1."""

    def mu(t):
        return beta1 * (1 - 0.5 * 0.96 ** (t * decay))

    def direction(g, s, t):
        m, v = moments(g, s, beta1, beta2)
        now, ahead = np.prod([mu(i) for i in range(1, t + 1)]), np.prod([mu(i) for i in range(1, t + 2)])
        mean = mu(t + 1) * m / (1 - ahead) + (1 - mu(t)) * g / (1 - now)
        return mean / (np.sqrt(v / (1 - beta2**t)) + epsilon)

    return direction


def nadam_of_optax(*, beta1: float, beta2: float, epsilon: float) -> Rule:
    def direction(g, s, t):
        m, v = moments(g, s, beta1, beta2)
        mean = beta1 * m / (1 - beta1 ** (t + 1)) + (1 - beta1) * g / (1 - beta1**t)
        return mean / (np.sqrt(v / (1 - beta2**t)) + epsilon)

    return direction


def radam(*, beta1: float, beta2: float, epsilon: float, at: str = "outside", threshold: float = 5) -> Rule:
    """Return RAdam of Liu et al. (2019), algorithm 2, with the threshold of their code."""

    def direction(g, s, t):
        m, v = moments(g, s, beta1, beta2)
        m, c2 = m / (1 - beta1**t), 1 - beta2**t
        limit = 2 / (1 - beta2) - 1
        length = limit - 2 * t * beta2**t / c2
        if length <= threshold:
            return m
        r = np.sqrt((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length))
        if at == "hat":  # torch
            return r * m * np.sqrt(c2) / (np.sqrt(v) + epsilon)
        return r * m / (np.sqrt(v / c2) + epsilon)

    return direction


def adabelief(*, beta1: float, beta2: float, epsilon: float, epsilon_root: float) -> Rule:
    """Return AdaBelief of Zhuang et al. (2020), algorithm 2."""

    def direction(g, s, t):
        s["m"] = beta1 * s["m"] + (1 - beta1) * g
        s["s"] = beta2 * s["s"] + (1 - beta2) * (g - s["m"]) ** 2 + epsilon_root
        return s["m"] / (1 - beta1**t) / (np.sqrt(s["s"] / (1 - beta2**t)) + epsilon)

    return direction


def acprop(*, beta1: float, beta2: float, epsilon: float, epsilon_root: float, form: str = "paper") -> Rule:
    """Return ACProp of Zhuang et al. (2021); optax takes the deviation from the mean before this gradient."""

    def direction(g, s, t):
        before = s["s"] / (1 - beta2 ** (t - 1)) if t > 1 else 1
        old, s["m"] = s["m"], beta1 * s["m"] + (1 - beta1) * g
        s["s"] = beta2 * s["s"] + (1 - beta2) * (g - (s["m"] if form == "paper" else old)) ** 2 + epsilon_root
        return g / (np.sqrt(before) + epsilon)

    return direction


def yogi(*, beta1: float, beta2: float, epsilon: float, first_v: float = 1e-6, first_m: float = 0) -> Rule:
    """Return Yogi of Zaheer et al. (2018), algorithm 2, with the corrections of optax."""

    def direction(g, s, t):
        m, v = (first_m, first_v) if t == 1 else (s["m"], s["v"])
        s["m"] = beta1 * m + (1 - beta1) * g
        s["v"] = v - (1 - beta2) * np.sign(v - g**2) * g**2
        return s["m"] / (1 - beta1**t) / (np.sqrt(s["v"] / (1 - beta2**t)) + epsilon)

    return direction


def adopt(*, beta1: float, beta2: float, epsilon: float, clipped: bool = True) -> Rule:
    """Return ADOPT of Taniguchi et al. (2024), algorithm 2; algorithm 1 does not clip."""

    def direction(g, s, t):
        if t == 1:
            s["v"] = g**2
            return 0 * g
        u = g / np.maximum(np.sqrt(s["v"]), epsilon)
        u = np.clip(u, -((t - 1) ** 0.25), (t - 1) ** 0.25) if clipped else u
        s["m"] = beta1 * s["m"] + (1 - beta1) * u
        s["v"] = beta2 * s["v"] + (1 - beta2) * g**2
        return s["m"]

    return direction


def adan(
    *, beta1: float, beta2: float, beta3: float, epsilon: float, epsilon_root: float = 0, form: str = "paper"
) -> Rule:
    """Return Adan of Xie et al. (2022), algorithm 1; its betas are one minus these."""
    weight = beta2 if form == "paper" else 1 - beta2

    def direction(g, s, t):
        difference = g - s["g"] if t > 1 else 0 * g
        s["g"] = g
        s["m"] = beta1 * s["m"] + (1 - beta1) * g
        s["v"] = beta2 * s["v"] + (1 - beta2) * difference
        s["n"] = beta3 * s["n"] + (1 - beta3) * (g + weight * difference) ** 2
        m, v, n = s["m"] / (1 - beta1**t), s["v"] / (1 - beta2**t), s["n"] / (1 - beta3**t)
        return (m + weight * v) / (np.sqrt(n + epsilon_root) + epsilon)

    return direction


def ademamix(*, beta1: float, beta2: float, beta3: float, alpha: float, epsilon: float) -> Rule:
    """Return AdEMAMix of Pagliardini et al. (2024), algorithm 1, without its schedules."""

    def direction(g, s, t):
        m, v = moments(g, s, beta1, beta2)
        s["slow"] = beta3 * s["slow"] + (1 - beta3) * g
        return (m / (1 - beta1**t) + alpha * s["slow"]) / (np.sqrt(v / (1 - beta2**t)) + epsilon)

    return direction


def simplified_ademamix(*, beta1: float, beta2: float, alpha: float, epsilon: float) -> Rule:
    """Return the simplified AdEMAMix of Morwani et al. (2025)."""

    def direction(g, s, t):
        s["m"] = beta1 * s["m"] + g
        s["v"] = beta2 * s["v"] + (1 - beta2) * g**2
        return (s["m"] + alpha * g) / (np.sqrt(s["v"] / (1 - beta2**t)) + epsilon)

    return direction


def smorms3(*, epsilon: float) -> Rule:
    """Return SMORMS3 of Funk (2015), as PuzzleLib has it."""

    def direction(g, s, t):
        memory = s["memory"] if t > 1 else 1
        r = 1 / (1 + memory)
        s["g"] = (1 - r) * s["g"] + r * g
        s["g2"] = (1 - r) * s["g2"] + r * g**2
        x = s["g"] ** 2 / (s["g2"] + epsilon)
        s["memory"] = 1 + memory * (1 - x)
        return g * np.minimum(s["rate"], x) / (np.sqrt(s["g2"]) + epsilon)

    return direction


def adagrad_window(*, window: int, epsilon: float, at: str = "inside") -> Rule:
    """Return Adagrad over the latest gradients alone, as PyMC has it."""

    def direction(g, s, t):
        s["squares"] = [*(s["squares"] or []), g**2][-window:]
        return g / root(sum(s["squares"]), epsilon, at)

    return direction
