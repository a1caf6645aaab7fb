"""When a run is to end: its limits, and what they say of its progress. Numbers only."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields

from ..checks import conform, flag, integer, kind_of, number
from . import reasons
from .plateau import Reduced, ReduceOnPlateau


@dataclass
class LossBlocks:
    """The training loss so far, as means of blocks of updates: what a `Plateau` decides from.

    Attributes
    ----------
    means : list of float
        Of the finished blocks, in order.
    doublings : int
        How often two neighbouring blocks were made one.
    total : float
        Sum of the losses of the unfinished block.
    updates : int
        How many these are.
    """

    means: list[float] = field(default_factory=list)
    doublings: int = 0
    total: float = 0.0
    updates: int = 0


@dataclass(frozen=True)
class Plateau:
    r"""Tell whether a noisy training loss has ceased to fall; checked when made.

    Losses of single updates say nothing: they rise half of the time while the training goes well. So the loss
    is averaged over blocks of updates, and a straight line is fitted, by least squares, through the means
    :math:`m_1 \dots m_n` of the latest half of the run:

    .. math::
        \begin{aligned}
        \text{slope} &= \textstyle\sum_i x_i m_i \big/ \sum_i x_i^2, \qquad x_i = i - (n + 1) / 2 \\
        \text{fall} &= -n \, \text{slope} \\
        \text{error} &= n \sqrt{\textstyle\sum_i (m_i - \bar m - \text{slope} \, x_i)^2
                        \big/ \big((n - 2) \sum_i x_i^2\big)}
        \end{aligned}

    The run is on a plateau when ``fall <= min_fall * abs(mean)``: the line does not fall, and
    ``error <= max_error * abs(mean)``: it would have shown a fall. While the noise is too large for this there
    is no decision; it becomes smaller with every update, as the blocks are as many as ever and grow with the
    run: whenever there are ``4 * blocks``, neighbours are made one.

    Parameters
    ----------
    block : int
        Updates in the first blocks; at least 1. Default 100.
    blocks : int
        Blocks that half of the run must have, at least 3; so nothing is decided in the first
        ``2 * blocks * block`` updates. Default 20.
    min_fall : float
        The relative fall, over the latest half of the run, that is as good as none; at least 0, dimensionless.
        Default 0.001.
    max_error : float
        The relative standard error of this fall up to which it is believed; above 0, dimensionless.
        Default 0.01.

    Raises
    ------
    TypeError
        If an option is of the wrong kind.
    ValueError
        If an option is out of its range.

    Notes
    -----
    Why the latest half: a loss that falls ever more slowly, like a power of the number of updates, falls by the
    same fraction over the latest half of the run however long it is, while the error becomes smaller. The price
    is that a plateau is found when it has lasted as long as the way to it, or longer.

    Why two conditions: to stop when a fall is not significant would stop every run that is noisy enough; to
    stop when a fall of some size is excluded would stop one that falls slowly and surely.

    The error is right for blocks that do not depend on each other. Blocks that are shorter than the memory of
    the loss make it too small; as they grow, they outgrow this memory. Batches drawn without replacement make
    neighbours differ more than that, and the error too large, which only delays.

    Both fractions are of the magnitude of the loss. Next to a large constant in the loss (a log-likelihood,
    say) a fall that matters may be a small fraction: take it away from the loss, or lower `max_error` and
    `min_fall`.
    """

    block: int = 100
    blocks: int = 20
    min_fall: float = 1e-3
    max_error: float = 0.01

    def __post_init__(self) -> None:
        conform(self, "block", integer, 1, of="plateau's ")
        conform(self, "blocks", integer, 3, of="plateau's ")
        conform(self, "min_fall", number, at_least=0, infinite=True, of="plateau's ")
        conform(self, "max_error", number, above=0, infinite=True, of="plateau's ")

    @classmethod
    def given(cls, plateau: object) -> Plateau | None:
        """Return what ``plateau=`` means: None and False no test, True the defaults, or a mapping of options."""
        if plateau is None or isinstance(plateau, Plateau):
            return plateau
        if isinstance(plateau, bool):
            return cls() if plateau else None
        if not isinstance(plateau, Mapping):
            raise TypeError(f"plateau must be True, False or a mapping of options, got {kind_of(plateau)}")
        known = [f.name for f in fields(cls)]
        for name in plateau:
            if name not in known:
                close = difflib.get_close_matches(str(name), known, 1) or known
                raise TypeError(f"plateau has no option {name!r}; did you mean {' or '.join(map(repr, close))}?")
        return cls(**plateau)

    def left(self, state: LossBlocks) -> int:
        """Return how many updates the unfinished block still lacks."""
        return (self.block << state.doublings) - state.updates

    def add(self, state: LossBlocks, losses: Iterable[float]) -> None:
        """Take in the losses of further updates."""
        for loss in losses:
            state.total += loss
            state.updates += 1
            if not self.left(state):
                self._finish_block(state)

    def _finish_block(self, state: LossBlocks) -> None:
        means = state.means
        means.append(state.total / state.updates)
        state.total, state.updates = 0.0, 0
        if len(means) == 4 * self.blocks:
            means[:] = [a / 2 + b / 2 for a, b in zip(means[::2], means[1::2], strict=True)]
            state.doublings += 1

    def reached(self, state: LossBlocks) -> bool:
        """Whether the finished blocks show a plateau."""
        n = len(state.means)
        if n < 2 * self.blocks:
            return False
        mean, fall, error = trend(state.means[n // 2 :])
        return fall <= self.min_fall * abs(mean) and error <= self.max_error * abs(mean)


def trend(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of at least three values, the fall of a straight line along them, and its standard error."""
    n = len(values)
    mean = sum(values) / n
    places = [i - (n - 1) / 2 for i in range(n)]
    square = sum(x * x for x in places)
    slope = sum(x * (v - mean) for x, v in zip(places, values, strict=True)) / square
    rest = [v - mean - slope * x for x, v in zip(places, values, strict=True)]
    return mean, -n * slope, n * math.sqrt(sum(r * r for r in rest) / ((n - 2) * square))


@dataclass(frozen=True)
class Limits:
    """When to validate and when to stop; checked when made.

    Parameters
    ----------
    patience : int or None
        Validations in a row that may fail to improve by `min_improvement`; the next one stops the run. None: no
        early stopping.
    validate_every : int or None
        Epochs from one validation to the next, at least 1. None: the run never validates, so that nothing is
        restored and `patience` has no effect.
    min_improvement : float
        What an improvement must exceed to count for `patience`, as a fraction of the magnitude of the loss that it
        improves on, the latest that counted; at least 0. The lowest loss is the best, however little it improved.
    max_updates, max_epochs : int or None
        Updates and whole epochs to run at most.
    max_seconds : float or None
        Wall-clock seconds after which no further update is begun; the time between two epochs, which belongs
        to the caller, counts.
    target : float or None
        Stop when the validation loss is not above this; in a run that never validates, the training loss of
        an epoch.
    diverged : float or None
        Stop when the loss that a target is compared with is above this multiple of the lowest one so far;
        above 1. For a negative loss: when it has risen by more than ``diverged - 1`` times its magnitude.
    plateau : Plateau, mapping of its options, bool or None
        Stop when the training loss has ceased to fall. True: with the default options.
    restore_best : bool
        Whether the parameters with the lowest validation loss are put back at the end.
    reduce_on_plateau : ReduceOnPlateau, mapping of its options, bool or None
        Multiply the learning rate when a monitor has ceased to improve. True: with the default options.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If an argument is out of its range.
    """

    patience: int | None = 5
    validate_every: int | None = 10
    min_improvement: float = 0.0
    max_updates: int | None = None
    max_epochs: int | None = None
    max_seconds: float | None = None
    target: float | None = None
    diverged: float | None = None
    plateau: Plateau | None = None
    restore_best: bool = True
    reduce_on_plateau: ReduceOnPlateau | None = None

    def __post_init__(self) -> None:
        conform(self, "patience", integer, 0, none="no early stopping")
        conform(self, "validate_every", integer, 1, none="no validation at all")
        for limit in ("max_updates", "max_epochs"):
            conform(self, limit, integer, 0, none="no limit")
        conform(self, "min_improvement", number, at_least=0, infinite=True)
        conform(self, "max_seconds", number, at_least=0, infinite=True, none="no limit")
        conform(self, "target", number, infinite=True, none="no target")
        conform(self, "diverged", number, above=1, infinite=True, none="no such end")
        conform(self, "restore_best", flag)
        object.__setattr__(self, "plateau", Plateau.given(self.plateau))
        object.__setattr__(self, "reduce_on_plateau", ReduceOnPlateau.given(self.reduce_on_plateau))
        reduce = self.reduce_on_plateau
        if reduce is not None and self.validate_every is None and reduce.monitor.startswith("valid."):
            raise ValueError(f"monitor must be of training in a run that never validates, got {reduce.monitor!r}")

    @property
    def endless(self) -> bool:
        """Whether neither a validation nor a limit can end the run; to diverge is no end to count on."""
        ends = (self.validate_every, self.max_updates, self.max_epochs, self.max_seconds, self.target, self.plateau)
        return all(end is None for end in ends)


@dataclass
class Progress:
    """Where a run stands: all that its decisions are made from, and nothing that JSON cannot hold.

    Attributes
    ----------
    updates, epoch : int
        Updates made, epochs finished.
    seconds : float
        Since the run began, at the latest look at the clock.
    sums : dict of str to float
        Weighted sums of the monitors over the unfinished epoch.
    rows : float
        The weight of these sums.
    stepping : float
        Seconds that these updates took.
    loss : float or None
        What a target is compared with: the latest validation's loss, or, in a run that never validates, the
        latest epoch's training loss.
    lowest : float or None
        The lowest finite one of these losses.
    best : float or None
        The lowest validation loss, whose parameters are kept; None before there is one.
    reference : float or None
        The loss that patience compares with: the latest that improved by `min_improvement` on the reference of then.
        None: `best`.
    failures : int
        Validations in a row that did not improve on `reference` by `min_improvement`.
    validation : dict of str to float
        Monitors of the latest validation.
    validated_at : int
        Updates made when they were taken; -1 before the first validation.
    blocks : LossBlocks
        Means of the training loss, if the run has a plateau test. May be given as the dict that JSON holds.
    ended : bool
        Whether all updates of the unfinished epoch are made, and only its record is to come.
    reduced : Reduced
        What the run reduces the learning rate from. May be given as the dict that JSON holds.
    faults : int
        Updates in a row, up to the latest, that were held back because they were not finite.
    rollbacks : int
        How often the run went back to the best for such an update.
    events : list of str
        What happened since the latest record, for the next one to tell of.
    stopped : str or None
        Why the run ended, in the words of `loop.reasons`; None while it runs.
    """

    updates: int = 0
    epoch: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    rows: float = 0.0
    stepping: float = 0.0
    loss: float | None = None
    lowest: float | None = None
    best: float | None = None
    reference: float | None = None
    failures: int = 0
    validation: dict[str, float] = field(default_factory=dict)
    validated_at: int = -1
    blocks: LossBlocks = field(default_factory=LossBlocks)
    reduced: Reduced = field(default_factory=Reduced)
    ended: bool = False
    faults: int = 0
    rollbacks: int = 0
    events: list[str] = field(default_factory=list)
    stopped: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.blocks, Mapping):
            self.blocks = LossBlocks(**self.blocks)
        if isinstance(self.reduced, Mapping):
            self.reduced = Reduced(**self.reduced)
        if self.reference is None:  # in checkpoints of before they were told apart
            self.reference = self.best

    @property
    def is_open(self) -> bool:
        """Whether there are updates that no record tells of yet."""
        return self.ended or bool(self.sums)

    def meet(self, loss: float) -> None:
        """Take note of a loss that targets are compared with."""
        self.loss = loss
        if math.isfinite(loss) and (self.lowest is None or loss < self.lowest):
            self.lowest = loss

    def judge(self, loss: float, min_improvement: float) -> None:
        """Count a validation loss for patience."""
        if improved(loss, self.reference, min_improvement):
            self.reference, self.failures = loss, 0
        else:
            self.failures += 1


def improved(loss: float, best: float | None, min_improvement: float = 0.0) -> bool:
    """Whether a validation loss is lower than the best, and by enough.

    Parameters
    ----------
    loss : float
        The new loss. One that is not finite never is.
    best : float or None
        The best loss so far. None: any finite loss improves on it.
    min_improvement : float
        What the improvement must exceed, as a fraction of the magnitude of `best`.
    """
    if not math.isfinite(loss):
        return False
    return best is None or best - loss > min_improvement * abs(best)


def diverged(loss: float, lowest: float, factor: float) -> bool:
    """Whether a loss is above `factor` times the lowest one.

    A loss may be negative or change its sign, so what counts is its rise: more than ``factor - 1`` times the
    magnitude of the lowest. For a positive one that is the same. NaN is not above anything; infinity is.
    """
    return loss - lowest > (factor - 1) * abs(lowest)


def reason(progress: Progress, limits: Limits) -> str | None:
    """Why the run is to end here, or None to go on.

    A target that is reached is named before a limit, and a limit before what a validation's loss says: so a
    last validation, made because of a limit or a plateau, does not hide it behind its failure. A loss that
    stays where it has diverged to is called diverged.
    """
    p = progress
    if limits.target is not None and p.loss is not None and p.loss <= limits.target:
        return reasons.TARGET.text
    if limits.max_updates is not None and p.updates >= limits.max_updates:
        return reasons.MAX_UPDATES.text
    if limits.max_epochs is not None and p.epoch + p.ended >= limits.max_epochs:
        return reasons.MAX_EPOCHS.text
    if limits.max_seconds is not None and p.seconds >= limits.max_seconds:
        return reasons.MAX_SECONDS.text
    if limits.diverged is not None and _has_diverged(p, limits.diverged):
        return reasons.DIVERGED.text
    if limits.plateau is not None and limits.plateau.reached(p.blocks):
        return reasons.PLATEAU.text
    if limits.patience is not None and p.failures > limits.patience:
        return reasons.PATIENCE.text
    return None


def _has_diverged(progress: Progress, factor: float) -> bool:
    if progress.loss is None or progress.lowest is None:
        return False
    return diverged(progress.loss, progress.lowest, factor)
