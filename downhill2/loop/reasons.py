"""Why a run ends: what `stopped` says, what that means in words for people, and how the run counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reason:
    """Why a run ends.

    Attributes
    ----------
    text : str
        What `stopped` says. ``{}`` stands for what `of` adds.
    words : str
        What happened, in Markdown: `docs/stopping.md` shows it.
    outcome : {'finished', 'killed', 'failed'}
        How the run counts for who keeps a list of runs.
    """

    text: str
    words: str
    outcome: str = "finished"

    def of(self, detail: str) -> str:
        """Return what `stopped` says of a run that ended for this reason: of which signal, say."""
        return self.text.format(detail)

    @property
    def kind(self) -> str:
        """The first word of what `stopped` says."""
        return _first_word(self.text)


TARGET = Reason("target", "the validation loss is not above `target`")
MAX_UPDATES = Reason("max_updates", "so many updates were made")
MAX_EPOCHS = Reason("max_epochs", "so many epochs were made")
MAX_SECONDS = Reason("max_seconds", "so many seconds have passed, validations and your own loop's body included")
DIVERGED = Reason("diverged", "the validation loss is above `diverged` times the lowest one")
PLATEAU = Reason("plateau", "the training loss has ceased to fall, by blocks of updates")
PATIENCE = Reason("patience", "more than `patience` validations in a row did not improve by `min_improvement`")
LIMITS = (TARGET, MAX_UPDATES, MAX_EPOCHS, MAX_SECONDS, DIVERGED, PLATEAU, PATIENCE)
"""Reasons that are settings of a run, too. Where several hold after the same update, the first of them is named."""

CALLBACK = Reason("callback: {}", 'a callback called `opt.stop("why")`')
SIGNAL = Reason("signal {}", "a signal came: from a scheduler, say, or Ctrl-C", "killed")
NON_FINITE = Reason(
    "non-finite",
    "an update that was not finite, or a hyperparameter for it, under "
    '`on_nonfinite="stop"`, `"raise"`, or once too often',
    "failed",
)
CLOSED = Reason("closed", "the body of your loop over `iterate` left it, by `break` or an exception of its own")
EXCEPTION = Reason("exception: {}", "the data or a callback raised it", "failed")
REASONS = (*LIMITS, CALLBACK, SIGNAL, NON_FINITE, CLOSED, EXCEPTION)


def read(stopped: str) -> Reason:
    """Return the reason that `stopped` tells of."""
    return next(r for r in REASONS if r.kind == _first_word(stopped))


def _first_word(text: str) -> str:
    return text.split()[0].rstrip(":")
