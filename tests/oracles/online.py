"""Rules by signs, averages, dual averages and bets in NumPy; see `reference`."""

from __future__ import annotations

import numpy as np

from .reference import Rule


def sign() -> Rule:
    return lambda g, s, t: np.sign(g)


def signum(*, beta: float) -> Rule:
    """Return Signum of Bernstein et al. (2018), algorithm 2."""

    def direction(g, s, t):
        s["m"] = beta * s["m"] + (1 - beta) * g
        return np.sign(s["m"])

    return direction


def lion(*, beta1: float, beta2: float) -> Rule:
    """Return Lion of Chen et al. (2023), algorithm 2."""

    def direction(g, s, t):
        c = beta1 * s["m"] + (1 - beta1) * g
        s["m"] = beta2 * s["m"] + (1 - beta2) * g
        return np.sign(c)

    return direction


def optimistic(rule: Rule, *, alpha: float = 1, beta: float = 1) -> Rule:
    """Return a rule with the next direction guessed from the last two."""

    def direction(g, s, t):
        u = rule(g, s, t)
        last = s["last"] if t > 1 else u
        s["last"] = u
        return (alpha + beta) * u - beta * last

    return direction


def madgrad(*, beta: float, epsilon: float) -> Rule:
    """Return MADGRAD of Defazio and Jelassi (2021), algorithm 1, with epsilon added to the rate as its authors do."""

    def direction(g, s, t):
        s["x0"] = s["x"] if t == 1 else s["x0"]
        weight = (s["rate"] + epsilon) * np.sqrt(t)
        s["s"] = s["s"] + weight * g
        s["v"] = s["v"] + weight * g**2
        z = s["x0"] - s["s"] / (np.cbrt(s["v"]) + epsilon)
        return s["x"] - (beta * s["x"] + (1 - beta) * z)

    return direction


def asgd(*, lambd: float, alpha: float) -> Rule:
    """Return the steps that torch's ASGD averages: those of Bottou, after Polyak and Juditsky (1992)."""

    def direction(g, s, t):
        eta = s["rate"] / (1 + lambd * s["rate"] * (t - 1)) ** alpha
        return s["x"] - ((1 - lambd * eta) * s["x"] - eta * g)

    return direction


def ftrl(
    *, initial: float = 0.1, power: float = 0.5, l1: float = 0, l2: float = 0, shrinkage: float = 0, beta: float = 0
) -> Rule:
    """Return FTRL-proximal of McMahan et al. (2013), algorithm 1, with the terms that Keras adds to it."""

    def direction(g, s, t):
        n, rate = s["n"] if t > 1 else initial, s["rate"]
        s["n"] = n + g**2
        sigma = (s["n"] ** power - n**power) / rate
        s["z"] = s["z"] + g + 2 * shrinkage * s["x"] - sigma * s["x"]
        shrunk = np.sign(s["z"]) * np.maximum(np.abs(s["z"]) - l1, 0)
        return s["x"] + shrunk / ((beta + s["n"] ** power) / rate + 2 * l2)

    return direction


def cocob(*, alpha: float = 100, epsilon: float = 1e-8) -> Rule:
    """Return COCOB-Backprop of Orabona and Tommasi (2017), algorithm 2."""

    def direction(g, s, t):
        x0 = s["x0"] = s["x"] if t == 1 else s["x0"]
        s["L"] = np.maximum(s["L"] if t > 1 else epsilon, np.abs(g))
        s["G"] = s["G"] + np.abs(g)
        s["reward"] = np.maximum(s["reward"] - g * (s["x"] - x0), 0)
        s["theta"] = s["theta"] - g
        bet = s["theta"] / (s["L"] * np.maximum(s["G"] + s["L"], alpha * s["L"]))
        return s["x"] - (x0 + bet * (s["L"] + s["reward"]))

    return direction
