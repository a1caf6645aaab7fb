"""Callbacks: what they are told, how they end a run, and what is left of one that they break."""

from __future__ import annotations

import functools
import json

import pytest

from tests.training import BATCH, Training


class Broken(Exception):
    """What a callback raises."""


@pytest.fixture(scope="module")
def training():
    return Training()


def fails(opt, record):
    if record.epoch == 3:
        raise Broken("no more")


class Watcher:
    def __call__(self, opt, record):
        fails(opt, record)


@pytest.mark.parametrize(
    ("callback", "name"),
    [
        (fails, "fails"),
        (Watcher(), "Watcher"),
        (Watcher().__call__, "Watcher.__call__"),
        (functools.partial(fails), "partial"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_callback_that_raises_is_named_with_the_epoch(callback, name, training):
    with pytest.raises(Broken, match="no more") as caught:
        training.run(callbacks=[lambda *_: None, callback])
    assert caught.value.__notes__ == [f"raised by the callback {name} after epoch 3"]


def test_nothing_is_lost_when_a_callback_raises(training, tmp_path):
    whole = training.run(checkpoint=tmp_path / "whole", validate_every=1)
    seen = []
    with pytest.raises(Broken):
        training.run(
            checkpoint=tmp_path / "broken", validate_every=1, callbacks=[lambda _, r: seen.append(r.epoch), fails]
        )
    opt = training.opt
    assert opt.stopped == "exception: Broken"
    assert seen == [0, 1, 2, 3]
    lines = (tmp_path / "broken" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [r.epoch for r in opt.history] == [0, 1, 2, 3]
    best = min((r.valid for r in opt.history), key=lambda monitors: monitors["loss"])
    assert opt.best_monitors == best
    assert opt.evaluate(training.data["valid"], BATCH) == pytest.approx(best)
    assert training.run(checkpoint=tmp_path / "broken", resume=True, validate_every=1) == whole


def test_a_callback_sees_each_validation_and_epoch_in_order(training):
    seen = []
    training.run(callbacks=[lambda opt, record: seen.append((opt, record))], max_epochs=2)
    assert [record for _, record in seen] == list(training.opt.history)
    assert {opt for opt, _ in seen} == {training.opt}


def test_a_callback_may_end_the_run(training):
    def enough(opt, record):
        if record.epoch == 2:
            opt.stop("enough")

    training.run(callbacks=[enough])
    assert training.opt.stopped == "callback: enough"
    assert [r.epoch for r in training.opt.history] == [0, 1, 2]


def test_callbacks_may_come_from_an_iterator(training):
    seen = []
    training.run(callbacks=iter([lambda _, record: seen.append(record.epoch)]), max_epochs=1)
    assert seen == [0, 1]


@pytest.mark.parametrize("given", [print, None, 3], ids=str)
def test_callbacks_that_are_no_sequence_are_refused(given, training):
    with pytest.raises(
        TypeError, match=r"callbacks must be a sequence of functions, got .*; put a single one in a list"
    ):
        training.run(callbacks=given)
