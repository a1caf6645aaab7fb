"""What a stretch of updates adds up to, and what people see of an epoch."""

from __future__ import annotations

from dataclasses import dataclass

Monitors = dict[str, float]
Pair = tuple[Monitors, Monitors]


@dataclass
class Tally:
    """What a stretch of updates adds to: what an epoch has summed up so far goes in, and on.

    Sums go on where the last stretch left them, and not from zero, so that averages do not depend on how an epoch
    is cut into stretches, to the last bit.

    Attributes
    ----------
    sums : dict of str to float
        For each monitor, `loss` first, the sum over the epoch's updates of weight times value.
    rows : float
        The weight of the sums: rows, or the sum of their weights.
    updates : int
        Updates made in this stretch.
    end : bool
        Whether the epoch is over.
    bad : bool
        Whether the last update met a loss that is not finite. It was held back and counts nowhere above.
    losses : list of float or None
        The loss of each update made in this stretch; None goes in, and stays, where nothing asks for them.
    """

    sums: Monitors
    rows: float
    updates: int = 0
    end: bool = False
    bad: bool = False
    losses: list[float] | None = None


@dataclass(frozen=True, init=False)
class Record:
    """What people see of an epoch.

    Attributes
    ----------
    epoch : int
        The epoch, from 1; 0 for the validation before the first update.
    updates : int
        Updates made since the run began.
    seconds : float
        From the run's beginning to the last update.
    train : dict of str to float
        Averages of the monitors over the epoch's updates. Empty for what stands alone: a validation before the first
        update or after the caller has closed the run, a save that failed at the end.
    valid : dict of str to float
        Monitors of the latest validation; empty if there was none.
    validated : bool
        Whether that validation is of this record.
    improved : bool
        Whether it gave a new best.
    hyper : dict of str to float
        The hyperparameters at the end of the epoch.
    rows_per_second : float
        Rows (or the sum of their weights) by the time that the epoch's updates took, other than validations
        and what the caller does; 0 where there was no update, or none that took time.
    events : tuple of str
        What else happened in the epoch.
    """

    epoch: int
    updates: int
    seconds: float
    train: Monitors
    valid: Monitors
    validated: bool
    improved: bool
    hyper: dict[str, float]
    rows_per_second: float
    events: tuple[str, ...]

    def __init__(
        self,
        epoch: int,
        updates: int,
        seconds: float,
        train: Monitors,
        valid: Monitors,
        validated: bool,
        improved: bool,
        hyper: dict[str, float] | None = None,
        rows_per_second: float = 0.0,
        events: tuple[str, ...] = (),
    ) -> None:
        # at once: what dataclass writes for a frozen class goes around its own lock for each field, at every epoch
        vars(self).update(
            epoch=epoch,
            updates=updates,
            seconds=seconds,
            train=train,
            valid=valid,
            validated=validated,
            improved=improved,
            hyper={} if hyper is None else hyper,
            rows_per_second=rows_per_second,
            events=events,
        )
