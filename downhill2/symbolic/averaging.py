"""Averages of parameters: rules whose `grad` is the new value, and whose result replaces it.

Their method `evaluated` returns what to validate, keep and restore in place of the parameter.
"""

from __future__ import annotations

import pytensor.tensor as pt

from .formulas import ema
from .graph import Variable
from .hyper import Hyper, Setting
from .options import Count, option, switch
from .rule import Rule
from .state import Copy, Number

Direction = tuple[Variable, dict[str, Variable]]


class Lookahead(Rule):
    """Go back, after every `lookahead` updates, to a slow point that follows a part of the way, arXiv:1907.08610."""

    lookahead = switch(Count(0, least=0), "k", on=5)
    lookahead_alpha = option(Hyper(0.5, at_least=0), of="lookahead")
    slow = Copy(follows=True)

    def direction(self, param: Variable, x_t: Variable, slow: Variable) -> Direction:
        slow = pt.switch(pt.eq(self.t, 1), param, slow)  # parameters may have been set since the state was made
        back = pt.eq(self.t % self.lookahead, 0)
        slow_t = pt.switch(back, slow + self.lookahead_alpha * (x_t - slow), slow)
        return pt.switch(back, slow_t, x_t), {"slow": slow_t}

    def evaluated(self, param: Variable, slow: Variable) -> Variable:
        return pt.switch(pt.eq(self.t, 1), param, slow)


class EMA(Rule):
    """Average parameters with exponentially falling weights; the first average is the value after the first update."""

    ema = switch(Hyper(0.0, at_least=0, below=1, off=True), "decay", on=0.999)
    ema_debias = option(Setting(False), of="ema")
    n, x = Number(), Copy(follows=True)

    def direction(self, param: Variable, x_t: Variable, n: Variable, x: Variable) -> Direction:
        n_t = n + 1
        last = 1 - self.ema  # weight of the latest value; debiased: relative to the sum of all weights
        weight = last / (1 - self.ema**n_t) if self.ema_debias else pt.switch(pt.eq(n, 0), 1, last)
        return x_t, dict(n=n_t, x=ema(1 - weight, x, x_t))

    def evaluated(self, param: Variable, n: Variable, x: Variable) -> Variable:
        return pt.switch(pt.eq(n, 0), param, x)


class SWA(Rule):
    """Average, from update `swa` on, the parameters after every `swa_every`-th update, arXiv:1803.05407."""

    swa = switch(Count(0, least=0), "start", on=1)
    swa_every = option(Count(1), of="swa")
    n, x = Number(), Copy(follows=True)

    def direction(self, param: Variable, x_t: Variable, n: Variable, x: Variable) -> Direction:
        since = self.t - self.swa
        taken = pt.ge(since, 0) & pt.eq(since % self.swa_every, 0)
        n_t = n + taken
        x_t_mean = pt.switch(taken, ema(n / pt.maximum(n_t, 1), x, x_t), x)
        return x_t, dict(n=n_t, x=x_t_mean)

    def evaluated(self, param: Variable, n: Variable, x: Variable) -> Variable:
        return pt.switch(pt.eq(n, 0), param, x)
