"""Data in flight: batches read ahead, reads tried again, sources that tell where they stand."""

from __future__ import annotations

import contextlib
import copy
import gc
import itertools
import json
import logging
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

import downhill2
from downhill2.data import readahead
from downhill2.data.dataset import Dataset
from downhill2.data.readahead import Line, ReadAhead

HANGS = 120  # seconds after which another thread will never do what it should


@pytest.fixture(autouse=True)
def no_thread_is_left_behind():
    yield
    until(lambda: readers() == [])


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    monkeypatch.setattr(readahead, "FIRST_DELAY", 0.001)


def readers():
    return [thread for thread in threading.enumerate() if thread.name == "downhill2 read-ahead"]


def vector(dtype="float64"):
    return pt.vector("x", dtype=dtype)


def bound(source, dtype="float64", **settings):
    return Dataset(source, "train", **settings).bind([vector(dtype)])


def values(batches):
    return [np.array(x).tolist() for (x,), _ in batches]


def drained(batches):
    return [(np.array(x).tolist(), weight) for (x,), weight in batches]


def saved(feed):
    return json.loads(json.dumps(feed.state()))


def endless(feed):
    return itertools.chain.from_iterable(feed.train() for _ in itertools.count())


def until(condition):
    """Wait for another thread."""
    deadline = time.monotonic() + HANGS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def settled(monkeypatch):
    """A function that waits until the latest reader has read all that it was asked for, and so stands still."""
    begun, real = [], ReadAhead.__init__

    def begin(self, *args):
        real(self, *args)
        begun.append(self)

    def stands_still():
        reader = begun[-1]
        return reader._line.answered.qsize() == reader._open or not reader._thread.is_alive()

    monkeypatch.setattr(ReadAhead, "__init__", begin)
    return lambda: until(stands_still)


class Counting:
    """A callable: 0, 1, 2 ...; some calls fail."""

    def __init__(self, failures=(), error=None, length=10):
        error = error or OSError("disk")
        self.calls, self.made, self.failures, self.error, self.length = 0, 0, list(failures), error, length

    def __len__(self):
        return self.length

    def __call__(self):
        self.calls += 1
        if self.calls - 1 in self.failures:
            raise self.error
        self.made += 1
        return [np.full(2, self.made - 1.0)]


def listing(length=6):
    for k in range(length):
        yield [np.full(2, float(k))]


# The same batches, ahead of time

SIZES = {
    "n": st.integers(1, 30),
    "batch_size": st.integers(-1, 35),
    "iteration_size": st.none() | st.integers(1, 12),
    "drop_last": st.booleans(),
    "shuffle": st.sampled_from(["rows", "batches", False]),
    "block_size": st.none() | st.integers(1, 12),
    "shuffle_buffer": st.integers(1, 4),
    "seed": st.integers(0, 2**32 - 1),
}


@given(prefetch=st.integers(1, 5), used=st.integers(0, 20), mapped=st.booleans(), **SIZES)
def test_batches_and_positions_are_those_of_reading_in_turn(n, seed, prefetch, used, mapped, **sizes):
    x = np.arange(n) if mapped else np.arange(float(n))  # the one is converted, the other gathered into a buffer
    plain, ahead, other = (
        Dataset(x, rng=s, prefetch=p, **sizes).bind([vector()])
        for s, p in ((seed, 0), (seed, prefetch), (seed + 1, prefetch))
    )
    with contextlib.closing(endless_closing(ahead)) as batches:
        expected = endless(plain)
        assert drained(itertools.islice(batches, used)) == drained(itertools.islice(expected, used))
        state = saved(ahead)
        assert state == saved(plain)
        following = drained(itertools.islice(expected, 20))
        assert drained(itertools.islice(batches, 20)) == following
    other.restore(state)
    with contextlib.closing(endless_closing(other)) as batches:
        assert drained(itertools.islice(batches, 20)) == following
    assert drained(ahead.stored()) == drained(plain.stored())
    assert readers() == []


def endless_closing(feed):
    while True:
        yield from feed.train()


@pytest.mark.parametrize("shuffle", ["rows", "batches", False])
@pytest.mark.parametrize("source", [np.arange(40.0), np.arange(40)], ids=["gathered", "converted"])
def test_a_batch_in_use_is_not_written_to(source, shuffle, settled):
    reads = []
    feed = bound(source, batch_size=4, rng=1, prefetch=3, shuffle=shuffle, weights=np.ones(40))
    for (x,), _ in feed.train():
        kept = x.copy()
        reads.append(kept)
        settled()  # the thread goes on meanwhile, as far as it will
        assert np.array_equal(x, kept)
    assert sorted(np.concatenate(reads)) == list(range(40))


@pytest.mark.parametrize("fill", [1, 3])
def test_as_many_batches_as_asked_are_read_ahead(fill, settled):
    source = Counting(length=20)
    feed = bound(source, prefetch=fill)
    with contextlib.closing(feed.train()) as batches:
        for used in range(1, 5):
            next(batches)
            settled()
            assert source.calls == used + fill


def test_nothing_is_read_ahead_beyond_the_epoch():
    source = Counting()
    feed = bound(source, prefetch=4, iteration_size=3)
    assert values(feed.train()) == [[0, 0], [1, 1], [2, 2]]
    assert source.calls == 3


def test_reading_goes_on_while_a_batch_is_used():
    source = Counting(length=8)
    for used, _ in enumerate(bound(source, prefetch=2).train(), 1):
        until(lambda used=used: source.calls == min(used + 2, 8))  # it never would, if it waited for its turn


def test_a_full_batch_is_kept_and_not_read_ahead():
    feed = bound(np.arange(6), batch_size=0, prefetch=3, retries=1)
    (first,), _ = next(feed.train())
    (second,), _ = next(feed.train())
    assert first is second
    assert readers() == []


def test_listed_batches_and_shared_variables_may_be_asked_for_ahead():
    assert values(bound([[np.ones(2)], [np.zeros(2)]], prefetch=2, shuffle=False).train()) == [[1, 1], [0, 0]]
    data = Dataset(pytensor.shared(np.arange(6.0)), batch_size=2, shuffle=False, prefetch=2)
    assert values(data.bind([vector()]).train()) == [[0, 1], [2, 3], [4, 5]]


def test_iterating_a_dataset_reads_ahead_too():
    data = Dataset([np.arange(6), np.arange(6.0)], batch_size=2, shuffle=False, prefetch=2)
    assert [x.tolist() for x, _ in data] == [[0, 1], [2, 3], [4, 5]]


def test_a_fault_is_that_of_the_batch_in_use():
    feed = bound(np.array([0.0, np.nan, 2.0, np.inf, 4, 5]), batch_size=1, shuffle=False, prefetch=3)
    with contextlib.closing(feed.train()) as batches:
        found = []
        for _ in range(3):
            next(batches)
            found.append((feed.fault(), feed.rows()))
    assert found == [(None, "rows 0 to 0"), ("input 'x', row 1", "rows 1 to 1"), (None, "rows 2 to 2")]


# The end of the thread

SOURCES = {
    "rows": lambda: np.arange(40),
    "callable": lambda: Counting(length=100),
    "generator function": lambda: listing,
}


def broken_by_its_user(batches):
    for _ in batches:
        raise KeyError


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("way", ["train", "stored"])
def test_the_thread_ends_with_the_loop(source, way):
    feed = bound(SOURCES[source](), batch_size=4, prefetch=2)
    run = getattr(feed, way)
    for _ in run():  # to the end
        assert len(readers()) == 1
    until(lambda: readers() == [])
    for _ in run():
        break
    until(lambda: readers() == [])
    batches = run()
    next(batches)
    batches.close()
    until(lambda: readers() == [])
    with pytest.raises(KeyError):
        broken_by_its_user(run())
    gc.collect()
    until(lambda: readers() == [])
    batches = run()
    next(batches)
    circle = [batches]
    circle.append(circle)
    del batches, circle
    gc.collect()
    until(lambda: readers() == [])


def test_the_end_of_an_epoch_waits_for_a_read_that_is_on(monkeypatch):
    reading, go_on, read, settle = threading.Event(), threading.Event(), [], ReadAhead.settle

    def blocked():
        if threading.current_thread() in readers():
            reading.set()
            assert go_on.wait(HANGS)
            read.append(1)
        return [np.zeros(1)]

    def settling(reader):
        go_on.set()
        settle(reader)

    monkeypatch.setattr(ReadAhead, "settle", settling)
    batches = bound(blocked, iteration_size=5, prefetch=1).train()
    next(batches)
    assert reading.wait(HANGS)
    batches.close()
    assert read


SCRIPT = """
import sys, time
import numpy as np, pytensor.tensor as pt
from downhill2.data.dataset import Dataset

def reading():
    yield [np.zeros(1)]
    yield [np.zeros(1)]
    {then}

batches = Dataset(reading, prefetch=1).bind([pt.dvector("x")]).train()
next(batches)
print("end", flush=True)
{last}
"""


@pytest.mark.parametrize("then", ["yield [np.zeros(1)]", "time.sleep(1000)"], ids=["quick", "hanging"])
@pytest.mark.parametrize("last", ["", "sys.exit(0)", "keep = [batches]; keep.append(keep)"])
def test_the_interpreter_ends_in_the_middle_of_an_epoch(then, last):
    script = SCRIPT.format(then=then, last=last)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=HANGS, check=True)
    assert (done.stdout, done.stderr) == ("end\n", "")


def test_garbage_collected_in_the_reading_thread_ends_it():
    collected = threading.Event()

    def read(request, pause):
        if request:
            until(lambda: abandoned)
            abandoned.pop().close()
            collected.set()
        return request

    flight = ReadAhead(read, range(5), 1)
    abandoned = []
    next(flight)
    abandoned.append(flight)
    assert collected.wait(HANGS)
    until(lambda: readers() == [])


def test_settling_from_the_reading_thread_does_not_wait_for_itself():
    flights, left = [], []

    def read(request, pause):
        until(lambda: flights)
        flights[0].settle()
        return request

    flight = ReadAhead(read, range(3), 1)
    flights.append(flight)
    left += flight
    assert left == [0, 1, 2]


def test_a_line_that_was_ended_answers_nothing():
    line = Line()
    thread = threading.Thread(target=line.serve, args=(lambda request, pause: request,))
    line.asked.put(1)
    line.end(threading.current_thread(), None)
    thread.start()
    thread.join()
    assert line.answered.empty()


# Errors


@pytest.mark.parametrize(
    ("prefetch", "retries", "error", "kind"),
    [
        (1, 0, OSError("disk"), OSError),
        (4, 0, OSError("disk"), OSError),
        (0, 2, KeyError("disk"), RuntimeError),
        (1, 0, KeyError("disk"), RuntimeError),
        (4, 2, KeyError("disk"), RuntimeError),
    ],
)
def test_an_error_comes_at_its_batch_and_tells_which(prefetch, retries, error, kind):
    batches = bound(Counting(failures=[3], error=error), prefetch=prefetch, retries=retries).train()
    assert values(itertools.islice(batches, 3)) == [[0, 0], [1, 1], [2, 2]]
    with pytest.raises(kind, match=r"train: batch 3 could not be read: .*disk") as raised:
        next(batches)
    assert raised.value.__cause__ is error


def test_an_error_without_prefetch_and_retries_is_the_reader_s_own():
    feed = bound(Counting(failures=[1], error=KeyError("disk")))
    with pytest.raises(KeyError):
        list(feed.train())


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_interrupt_in_the_reader_is_an_interrupt(prefetch):
    feed = bound(Counting(failures=[2], error=KeyboardInterrupt()), prefetch=prefetch, retries=3)
    with pytest.raises(KeyboardInterrupt):
        list(feed.train())


def test_a_wrong_batch_is_told_as_without_reading_ahead():
    def odd():
        yield from listing(2)
        yield [np.zeros((2, 2))]

    feed = bound(odd, prefetch=3)
    with pytest.raises(ValueError, match="train: batch 2: input 'x' must have 1 dimensions"):
        list(feed.train())


def test_an_error_that_was_read_ahead_and_not_met_comes_later():
    feed = bound(Counting(failures=[3]), prefetch=3, iteration_size=5)
    batches = feed.train()
    next(batches)
    batches.close()
    with pytest.raises(OSError, match="batch 3 could not be read"):
        list(feed.train())


def test_after_an_error_the_next_epoch_goes_on():
    feed = bound(Counting(failures=[3]), prefetch=2, iteration_size=5)
    with pytest.raises(OSError, match="batch 3"):
        list(feed.train())
    assert values(feed.train()) == [[k, k] for k in range(3, 8)]


# Again


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_read_that_fails_is_tried_again(prefetch, caplog):
    feed = bound(Counting(failures=[2, 3, 6]), prefetch=prefetch, retries=2, iteration_size=5)
    with caplog.at_level(logging.WARNING, "downhill2"):
        assert values(feed.train()) == [[k, k] for k in range(5)]
    assert caplog.messages == [
        "train: batch 2 could not be read (disk); trying again in 0.001 s",
        "train: batch 2 could not be read (disk); trying again in 0.002 s",
        "train: batch 4 could not be read (disk); trying again in 0.001 s",
    ]
    assert {record.levelname for record in caplog.records} == {"WARNING"}


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("way", ["train", "stored"])
def test_a_read_that_fails_too_often_is_an_error(prefetch, way):
    source = Counting(failures=range(2, 100))
    feed = bound(source, prefetch=prefetch, retries=2)
    with pytest.raises(OSError, match="train: batch 2 could not be read: disk"):
        list(getattr(feed, way)())
    assert source.calls == 5


@pytest.mark.parametrize("prefetch", [0, 2])
def test_the_first_batch_is_tried_again_too(prefetch):
    assert values(bound(Counting(failures=[0]), prefetch=prefetch, retries=1, iteration_size=2).train())
    with pytest.raises(OSError, match="batch 0"):
        bound(Counting(failures=[0, 1]), prefetch=prefetch, retries=1)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_iterable_that_fails_to_open_is_opened_again(prefetch):
    opened = []

    class Closed:
        def __iter__(self):
            opened.append(1)
            if len(opened) % 2:
                raise OSError("busy")
            return listing(3)

    feed = bound(Closed(), prefetch=prefetch, retries=1)
    assert values(feed.train()) == values(feed.train()) == [[0, 0], [1, 1], [2, 2]]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_iterator_that_goes_on_is_asked_again_and_a_dead_one_is_an_error(prefetch):
    class Flaky:
        def __init__(self):
            self.k, self.failed = -1, False

        def __iter__(self):
            return type(self)()

        def __next__(self):
            if self.k == 1 and not self.failed:
                self.failed = True
                raise OSError("busy")
            self.k += 1
            if self.k == 4:
                raise StopIteration
            return [np.full(1, float(self.k))]

    with pytest.raises(ValueError, match="again and again"):
        bound(Flaky())
    source = type("Restarted", (), {"__iter__": lambda self: Flaky()})()
    assert values(bound(source, prefetch=prefetch, retries=1).train()) == [[0], [1], [2], [3]]

    def dying():
        yield from listing(2)
        raise OSError("busy")

    with pytest.raises(OSError, match="batch 2 could not be read, and the iterator cannot go on: busy"):
        list(bound(dying, prefetch=prefetch, retries=5).train())


def test_a_thread_that_waits_to_try_again_ends_at_once(monkeypatch):
    monkeypatch.setattr(readahead, "FIRST_DELAY", 1e6)
    source = Counting(failures=[2])
    feed = bound(source, prefetch=1, retries=3)
    batches = feed.train()
    next(batches)
    next(batches)
    until(lambda: source.calls == 3)
    monkeypatch.setattr(readahead.ReadAhead, "settle", lambda self: None)
    closing = threading.Thread(target=batches.close, daemon=True)
    closing.start()
    closing.join(HANGS)
    assert not closing.is_alive()


@pytest.mark.parametrize("name", ["prefetch", "retries"])
@pytest.mark.parametrize(("value", "error"), [(-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_counts_out_of_range_are_refused(name, value, error):
    with pytest.raises(error, match=f"{name} must be"):
        Dataset(np.arange(3), **{name: value})


# What is read ahead of callables and iterables


def test_batches_read_ahead_and_not_used_come_in_the_next_epoch():
    feed = bound(Counting(), prefetch=3, iteration_size=5)
    batches = feed.train()
    assert values(itertools.islice(batches, 2)) == [[0, 0], [1, 1]]
    batches.close()
    assert values(feed.train()) == [[k, k] for k in range(2, 7)]


def test_evaluation_does_not_take_what_was_read_ahead_for_training():
    source = Counting()
    feed = bound(source, prefetch=2, iteration_size=5)
    with contextlib.closing(feed.train()) as batches:
        assert values(itertools.islice(batches, 2)) == [[0, 0], [1, 1]]
        assert values(feed.stored()) == [[k, k] for k in range(4, 9)]
        assert values(batches) == [[2, 2], [3, 3], [9, 9]]


def test_an_epoch_may_begin_while_another_is_on():
    feed = bound(Counting(), prefetch=2, iteration_size=5)
    first, second = feed.train(), feed.train()
    seen = [next(first), next(second), next(first), next(second)]
    first.close()
    seen += second
    assert [x.tolist() for (x,), _ in seen] == [[k, k] for k in range(7)]


def test_a_pass_that_ends_within_the_epoch_begins_again():
    plain, ahead = (bound(listing, prefetch=p, iteration_size=4) for p in (0, 3))
    for _ in range(5):
        assert drained(ahead.train()) == drained(plain.train())
    batches = ahead.train()
    next(batches)
    batches.close()
    next(plain.train())
    assert drained(ahead.train()) == drained(plain.train())


def test_what_was_read_ahead_at_the_end_of_a_pass_is_kept():
    feed, plain = (bound(listing, prefetch=p, iteration_size=10) for p in (4, 0))
    for each in (feed, plain):
        batches = each.train()
        for _ in range(5):
            next(batches)
        batches.close()
    assert values(feed.train()) == values(plain.train())


@pytest.mark.parametrize("kind", ["array", "list", "sparse", "number", "frame"])
def test_a_source_may_write_into_the_arrays_that_it_gave(kind, settled):
    buffer = np.zeros((2, 2))
    matrix = sp.csr_array(np.ones((2, 2)))

    def reusing():
        for k in range(6):
            buffer[...] = k
            matrix.data[...] = k
            yield {"array": buffer, "list": [buffer], "sparse": [matrix], "number": [buffer], "frame": (buffer,)}[kind]

    feed = Dataset(reusing, prefetch=3).bind([pt.dmatrix("x")])
    seen = []
    for (x,), _ in feed.train():
        settled()
        seen.append(x[0, 0])
    assert seen == [0, 1, 2, 3, 4, 5]


def test_numbers_and_what_is_no_array_pass_through_the_thread():
    feed = Dataset(lambda: [1.5], iteration_size=3, prefetch=2).bind([pt.dscalar("x")])
    assert [float(x) for (x,), _ in feed.train()] == [1.5] * 3
    odd = Dataset(lambda: [pytensor.shared(np.ones(2))], prefetch=2)
    with pytest.raises(TypeError, match="must hold arrays"):
        odd.bind([vector()])


# Sources that tell where they stand


class Loader:
    """As a stateful loader of torchdata: each pass shuffled anew, the state is that of the latest pass begun."""

    def __init__(self, rows=7, seed=1):
        self.rows, self.rng = rows, np.random.default_rng(seed)
        self.latest = self.pending = None

    def __iter__(self):
        pending, self.pending = self.pending, None
        self.latest = Run(self, pending)
        return self.latest

    def state_dict(self):
        return (self.latest or iter(self)).state

    def load_state_dict(self, state):
        self.pending, self.latest = state, None


class Run:
    def __init__(self, loader, pending):
        if pending:
            loader.rng.bit_generator.state = pending["rng"]
        self.state = {"rng": loader.rng.bit_generator.state, "taken": pending["taken"] if pending else 0}
        self.order = loader.rng.permutation(loader.rows)

    def __iter__(self):
        return self

    def __next__(self):
        taken = self.state["taken"]
        if taken == len(self.order):
            raise StopIteration
        self.state["taken"] += 1
        return [np.full(1, float(self.order[taken]))]


class SizedLoader(Loader):
    def __len__(self):
        return self.rows


class Walker:
    """An iterable that itself stands somewhere, until its end."""

    def __init__(self):
        self.at = 0

    def __iter__(self):
        while self.at < 5:
            self.at += 1
            yield [np.full(1, float(self.at))]
        self.at = 0

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


class Draws:
    """A callable that draws."""

    def __init__(self):
        self.rng = np.random.default_rng(3)

    def __call__(self):
        return [self.rng.random(2)]

    def state_dict(self):
        return self.rng.bit_generator.state

    def load_state_dict(self, state):
        self.rng.bit_generator.state = state


def torch_loader():
    torch = pytest.importorskip("torch")
    loaders = pytest.importorskip("torchdata.stateful_dataloader")
    rows = torch.utils.data.TensorDataset(torch.arange(7.0))
    with warnings.catch_warnings(action="ignore"):  # torch deprecates what torchdata calls
        return loaders.StatefulDataLoader(rows, 2, shuffle=True, generator=torch.Generator().manual_seed(1))


STATEFUL = {kind.__name__: kind for kind in (Loader, SizedLoader, Walker, Draws, torch_loader)}
KINDS = [pytest.param(k, marks=pytest.mark.oracle_torch) if k == "torch_loader" else k for k in STATEFUL]


@pytest.mark.parametrize("prefetch", [0, 3])
@pytest.mark.parametrize("iteration_size", [None, 3, 10])
@pytest.mark.parametrize("kind", KINDS)
def test_a_source_with_a_state_resumes_exactly_wherever_it_is_left(kind, iteration_size, prefetch, caplog):
    dtype = "float32" if kind == "torch_loader" else "float64"
    for used in range(14):
        feed, plain, other = (
            bound(STATEFUL[kind](), dtype, prefetch=p, iteration_size=iteration_size) for p in (prefetch, 0, prefetch)
        )
        with contextlib.closing(endless_closing(feed)) as batches:
            expected = endless(plain)
            assert values(itertools.islice(batches, used)) == values(itertools.islice(expected, used))
            state = saved(feed)
            assert state == saved(plain)
            following = values(itertools.islice(expected, 12))
            assert values(itertools.islice(batches, 12)) == following
        other.restore(state)
        with contextlib.closing(endless_closing(other)) as batches:
            assert values(itertools.islice(batches, 12)) == following
    assert not caplog.messages


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("iteration_size", [None, 3])
def test_evaluation_does_not_move_a_source_with_a_state(kind, prefetch, iteration_size):
    dtype = "float32" if kind == "torch_loader" else "float64"
    feed, alone = (bound(STATEFUL[kind](), dtype, prefetch=prefetch, iteration_size=iteration_size) for _ in range(2))
    for _ in range(3):
        list(itertools.islice(feed.stored(), 200))
        with contextlib.closing(feed.train()) as batches, contextlib.closing(alone.train()) as expected:
            assert values(itertools.islice(batches, 2)) == values(itertools.islice(expected, 2))
            list(itertools.islice(feed.stored(), 200))
            state = saved(feed)
            assert state == saved(alone)
            assert values(itertools.islice(batches, 300)) == values(itertools.islice(expected, 300))


def test_a_source_is_checked_in_the_middle_of_a_pass_without_moving_it():
    data, alone = Dataset(Loader(), iteration_size=20), Dataset(Loader(), iteration_size=20)
    batches, expected = (each.bind([vector()]).train() for each in (data, alone))
    for k in range(20):
        if k in (3, 8):
            data.bind([vector()])
        assert next(batches)[0][0] == next(expected)[0][0]


def test_a_source_with_a_state_that_is_empty_is_refused():
    class Empty(Walker):
        def __iter__(self):
            return iter(())

    with pytest.raises(ValueError, match="at least one batch"):
        bound(Empty())


class Odd(Draws):
    def __init__(self, state):
        super().__init__()
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.loaded = state


STATE = {
    "a": [1, 2.5, None, True, "x", (1, [2])],
    "b": {"c": np.arange(6, dtype=np.uint8).reshape(2, 3)},
    "d": np.float64(2),
    "e": np.int16(3),
    "empty": np.zeros((0, 2)),
}


def test_a_state_may_hold_arrays():
    feed, source = bound(Odd(STATE)), Odd({})
    other = bound(source)
    other.restore(saved(feed))
    next(other.train())
    loaded = source.loaded
    assert loaded["a"] == [1, 2.5, None, True, "x", [1, [2]]]
    assert loaded["b"]["c"].dtype == np.uint8
    assert loaded["b"]["c"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (float(loaded["d"]), int(loaded["e"])) == (2, 3)
    assert loaded["empty"].shape == (0, 2)


@pytest.mark.oracle_torch
def test_a_tensor_in_a_state_is_a_tensor_again():
    torch = pytest.importorskip("torch")
    feed, source = bound(Odd({"g": torch.arange(3, dtype=torch.uint8)})), Odd({})
    other = bound(source)
    other.restore(saved(feed))
    next(other.train())
    assert torch.equal(source.loaded["g"], torch.arange(3, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("state", "where"),
    [
        ({"a": [1, object()]}, r"train: state_dict\(\)\['a'\]\[1\] must hold"),
        ({1: 2}, r"train: state_dict\(\) must hold"),
        ({"a": b"1"}, r"\['a'\] must hold"),
        ({"a": np.array([None])}, r"\['a'\] must hold"),
    ],
)
def test_a_state_that_json_cannot_hold_is_refused(state, where):
    with pytest.raises(TypeError, match=where):
        bound(Odd(state)).state()


def test_a_state_of_the_other_kind_is_refused():
    stateful, stateless = bound(Draws()), bound(Counting())
    array = bound(np.arange(3))
    for feed, other, kind in (
        (stateful, stateless, "without"),
        (stateless, stateful, "with"),
        (array, stateful, "with"),
    ):
        state = saved(feed)
        before = saved(other)
        with pytest.raises(ValueError, match=rf"state must be of .*{kind} state_dict"):
            other.restore(state)
        assert saved(other) == before


def test_the_state_of_a_source_may_be_changed_by_it_afterwards():
    source = Loader()
    feed = bound(source, iteration_size=20)
    batches = feed.train()
    next(batches)
    state = feed.state()
    before = copy.deepcopy(state)
    list(batches)
    assert state == before


# ---- runs


class Stop(Exception):
    pass


def crash(opt, record):
    if record.updates:
        raise Stop


def ended_by_limit(opt, data):
    opt.minimize(data, max_updates=8, validate_every=None)


def ended_by_break(opt, data):
    for _ in opt.iterate(data, validate_every=None, max_updates=8):
        break


def ended_by_error(opt, data):
    with contextlib.suppress(Stop):
        opt.minimize(data, max_updates=8, validate_every=None, callbacks=[crash])


def ended_by_signal(opt, data):
    interrupt = lambda opt, record: signal.raise_signal(signal.SIGUSR1)  # noqa: E731
    opt.minimize(data, max_updates=8, validate_every=None, callbacks=[interrupt], on_signal="stop")


def ended_in_windows(opt, data):
    opt.minimize(data, max_updates=2, validate_every=None, accumulate=4)
    opt.accumulate = 1


def batches():
    for i in range(12):
        yield [np.full(4, float(i))]


TRAINED_ON = {"arrays": lambda: [np.arange(48.0)], "a generator": lambda: batches, "with a state": Walker}


@pytest.fixture(scope="module")
def trained():
    x, w = pt.vector("x"), pytensor.shared(0.0, name="w")
    return downhill2.build("sgd", ((x * w - 1) ** 2).mean(), learning_rate=1e-3)


@pytest.mark.parametrize("end", [ended_by_limit, ended_by_break, ended_by_error, ended_by_signal, ended_in_windows])
@pytest.mark.parametrize("source", TRAINED_ON)
def test_threads_that_read_ahead_end_with_the_run_whoever_is_kept(trained, source, end):
    data = Dataset(TRAINED_ON[source](), batch_size=4, iteration_size=12, prefetch=3, rng=0)
    end(trained, data)
    assert readers() == []


@pytest.mark.parametrize("source", TRAINED_ON)
def test_the_next_run_goes_on_where_the_one_before_has_left_the_data(trained, source):
    def after(prefetch):
        data = Dataset(TRAINED_ON[source](), batch_size=4, iteration_size=12, prefetch=prefetch, rng=0)
        trained.reset()
        trained.set_params([0.0])
        for updates in (5, 8, 14):
            trained.minimize(data, max_updates=updates, validate_every=None)
        return trained.params[0].get_value()

    assert after(3) == after(0)


def test_a_range_test_leaves_no_thread():
    x, w = pt.vector("x"), pytensor.shared(0.0, name="w")
    data = Dataset([np.arange(48.0)], batch_size=4, prefetch=3, rng=0)
    found = downhill2.find_learning_rate(((x * w - 1) ** 2).mean(), data, algo="sgd", max_updates=17)
    assert (len(found.rates) <= 17, readers()) == (True, [])
