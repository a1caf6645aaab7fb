import json
import logging
import math
import os
import re
import subprocess
import sys
import textwrap
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from downhill2.keeping.history import History, encoded
from downhill2.keeping.history_file import HistoryFile
from downhill2.loop.run import Record


def record(epoch, train=None, valid=None, **settings):
    filled = {"updates": 10 * epoch, "seconds": epoch / 4, "validated": False, "improved": False, **settings}
    return Record(epoch=epoch, train=train or {}, valid=valid or {}, **filled)


RECORDS = [
    record(0, valid={"loss": 2.0, "error": math.inf}, validated=True, improved=True),
    record(1, {"loss": 1.5, "error": math.nan}, {"loss": 2.0, "error": -math.inf}, rows_per_second=1e5),
    record(2, {"loss": 0.1, "error": 1 / 3}, {"loss": math.nan}, validated=True, events=("checkpoint", 'a, "b"\n')),
    record(3, {"loss": 0.2}, hyper={"learning_rate": 1e-4, "momentum.x": 0.9}),
]


@pytest.fixture
def history():
    return History(RECORDS)


def same(these, those):
    """Whether records are equal to the last bit, the order of names apart; NaN equals NaN."""

    def canonical(record):
        groups = [sorted(getattr(record, group).items()) for group in ("train", "valid", "hyper")]
        return repr((record.epoch, record.updates, record.seconds, record.rows_per_second, groups)) + repr(
            (record.validated, record.improved, record.events)
        )

    return list(map(canonical, these)) == list(map(canonical, those))


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
numbers = st.floats(width=64)
values = st.dictionaries(names, numbers, max_size=3)
records = st.builds(
    Record,
    epoch=st.integers(0, 2**62),
    updates=st.integers(0, 2**62),
    seconds=numbers,
    train=values,
    valid=values,
    validated=st.booleans(),
    improved=st.booleans(),
    hyper=values,
    rows_per_second=numbers,
    events=st.lists(names, max_size=2).map(tuple),
)


# ---- a sequence of records


@given(st.lists(records, max_size=5))
def test_records_come_out_as_they_went_in(given):
    assert repr(list(History(given))) == repr(given)


def test_a_history_is_a_sequence(history):
    assert len(history) == 4
    assert [r.epoch for r in history] == [0, 1, 2, 3]
    assert [r.epoch for r in reversed(history)] == [3, 2, 1, 0]
    assert history[3] == history[-1] == RECORDS[3]
    assert history.index(RECORDS[3]) == 3
    assert not History()


def test_the_types_of_a_record_are_kept(history):
    assert type(history[0].epoch) is int
    assert type(history[0].improved) is bool
    assert type(history[0].seconds) is float
    assert list(history[1].train) == ["loss", "error"]


@pytest.mark.parametrize("part", [slice(1, 3), slice(None, None, -1), slice(-2, None), slice(5, 9)])
def test_a_slice_is_a_history(history, part):
    assert isinstance(history[part], History)
    assert same(history[part], RECORDS[part])


@pytest.mark.parametrize("place", [4, -5])
def test_a_place_that_there_is_not_is_an_index_error(history, place):
    with pytest.raises(IndexError):
        history[place]


def test_a_place_that_is_none_is_a_type_error(history):
    with pytest.raises(TypeError):
        history[1.5]


def test_what_is_done_to_a_record_stays_with_the_caller(history):
    history[1].train.clear()
    assert history[1].train["loss"] == 1.5


def test_a_value_of_the_wrong_kind_changes_nothing(history):
    with pytest.raises(ValueError, match="could not convert"):
        history.append(record(4, {"loss": "low"}))
    history.append(record(5, {"loss": 0.1}))
    assert history["epoch"].tolist() == [0, 1, 2, 3, 5]
    assert history["train.loss"].tolist()[3:] == [0.2, 0.1]


# ---- columns


def test_columns_have_names_and_those_of_a_group_stand_together(history):
    assert history.columns == [
        *("epoch", "updates", "seconds", "rows_per_second", "validated", "improved"),
        *(
            "train.loss",
            "train.error",
            "valid.loss",
            "valid.error",
            "hyper.learning_rate",
            "hyper.momentum.x",
            "events",
        ),
    ]
    assert repr(history).startswith("History(4 records of epoch, updates, ")


@pytest.mark.parametrize(
    ("name", "dtype", "expected"),
    [
        ("epoch", np.int64, [0, 1, 2, 3]),
        ("updates", np.int64, [0, 10, 20, 30]),
        ("seconds", np.float64, [0.0, 0.25, 0.5, 0.75]),
        ("rows_per_second", np.float64, [0.0, 1e5, 0.0, 0.0]),
        ("validated", np.bool_, [True, False, True, False]),
        ("improved", np.bool_, [True, False, False, False]),
        ("train.loss", np.float64, [math.nan, 1.5, 0.1, 0.2]),
        ("valid.error", np.float64, [math.inf, -math.inf, math.nan, math.nan]),
        ("hyper.momentum.x", np.float64, [math.nan, math.nan, math.nan, 0.9]),
    ],
)
def test_a_column_is_an_array_with_nan_where_a_record_lacks_the_value(history, name, dtype, expected):
    column = history[name]
    assert column.dtype == dtype
    np.testing.assert_array_equal(column, expected)


def test_events_are_tuples(history):
    assert history["events"] == [(), (), ("checkpoint", 'a, "b"\n'), ()]


def test_a_history_grows_while_somebody_holds_a_column(history):
    columns = [history[name] for name in history.columns]
    history.append(RECORDS[1])
    assert {len(column) for column in columns} == {4}
    assert len(history["train.loss"]) == len(history["improved"]) == 5


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("train.los", "did you mean 'train.loss'"),
        ("epochs", "did you mean 'epoch'"),
        ("?", "it has 'epoch', 'updates'"),
    ],
)
def test_an_unknown_column_is_a_key_error_with_the_nearest_name(history, name, hint):
    with pytest.raises(KeyError, match=f"no column {name!r}; {hint}".replace("?", r"\?")):
        history[name]


def test_a_record_takes_little_memory():
    def fill(n):
        for epoch in range(n):
            history.append(record(epoch, {"loss": 0.5, "error": 0.1}, {"loss": 0.5, "error": 0.1}, hyper={"rate": 0.1}))

    history = History()
    tracemalloc.start()
    try:
        fill(1000)
        before, _ = tracemalloc.get_traced_memory()
        fill(4000)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # 4 numbers, 2 flags, 5 values, a layout and an event make 90 bytes; arrays keep an eighth in reserve
    assert (after - before) / 4000 < 110


# ---- to and from frames and files


@given(st.lists(records, max_size=5))
def test_json_lines_give_the_records_back(tmp_path_factory, given):
    path = tmp_path_factory.mktemp("history") / "run.jsonl"
    History(given).to_json_lines(path)
    assert repr(list(History.from_json_lines(path))) == repr(given)


@given(st.lists(records, max_size=5))
def test_csv_gives_the_records_back(tmp_path_factory, given):
    path = tmp_path_factory.mktemp("history") / "run.csv"
    History(given).to_csv(path)
    assert same(History.from_csv(path), given)


@given(st.lists(records, max_size=5))
def test_a_frame_gives_the_columns_back(given):
    history = History(given)
    again = History.from_pandas(history.to_pandas())
    for name in set(history.columns) & set(again.columns) - {"events"}:
        np.testing.assert_array_equal(again[name], history[name])
    assert again["events"] == history["events"]
    for name in set(history.columns) - set(again.columns):
        assert np.isnan(history[name]).all()


def test_a_group_that_is_all_nan_in_a_frame_is_missing(history):
    again = History.from_pandas(history.to_pandas())
    assert again[0].train == {}
    assert again[2].valid == {}
    assert math.isnan(again[1].train["error"])
    assert again[3].hyper == RECORDS[3].hyper


def test_a_frame_has_plain_columns(history):
    frame = history.to_pandas()
    assert list(frame.columns) == history.columns
    assert frame.dtypes["train.loss"] == np.float64
    assert frame.dtypes["improved"] == np.bool_
    assert frame["events"][2] == ("checkpoint", 'a, "b"\n')


def test_pandas_reads_the_files_too(history, tmp_path):
    history.to_csv(tmp_path / "run.csv")
    history.to_json_lines(tmp_path / "run.jsonl")
    for frame in (pd.read_csv(tmp_path / "run.csv"), pd.read_json(tmp_path / "run.jsonl", lines=True)):
        assert frame["train.loss"][1:].tolist() == [1.5, 0.1, 0.2]
        assert frame["improved"].tolist() == [True, False, False, False]


def test_json_lines_are_standard_json_with_the_names_of_columns(history, tmp_path):
    path = tmp_path / "run.jsonl"
    history.to_json_lines(path)

    def refuse(constant):
        raise AssertionError(constant)

    lines = [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]
    assert list(lines[0]) == [
        *("epoch", "updates", "seconds", "rows_per_second", "validated", "improved", "valid.loss", "valid.error"),
        "events",
    ]
    assert lines[0]["valid.error"] == "Infinity"
    assert lines[1]["train.error"] == "NaN"
    assert lines[2]["events"] == ["checkpoint", 'a, "b"\n']


def test_writing_again_replaces_a_file(history, tmp_path):
    path = tmp_path / "run.jsonl"
    history.to_json_lines(path)
    history[:1].to_json_lines(path)
    assert same(History.from_json_lines(path), RECORDS[:1])


def test_a_table_without_a_column_is_refused(history, tmp_path):
    with pytest.raises(ValueError, match=re.escape("the frame must have a column 'epoch', got 'updates', 'seconds'")):
        History.from_pandas(history.to_pandas().drop(columns="epoch"))
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match=r"empty\.csv must have a column 'epoch', got none"):
        History.from_csv(tmp_path / "empty.csv")


@pytest.mark.parametrize(("name", "hint"), [("valid_loss", "it has 'epoch'"), ("event", "did you mean 'events'")])
def test_a_column_that_no_history_has_is_refused(history, name, hint):
    with pytest.raises(ValueError, match=f"the frame must have columns of a history only, got '{name}'; {hint}"):
        History.from_pandas(history.to_pandas().assign(**{name: 1.0}))


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("1.5", "1.5.", "Extra data"),
        ("1.5", "[1]", "must be a number, got .1."),
        ("100000.0", "", "rows_per_second"),
        ("1.5,", "", "as many cells"),
        ("1.5,", "1.5,7,", "as many cells"),
    ],
)
def test_a_damaged_csv_names_the_line(history, tmp_path, old, new, why):
    path = tmp_path / "run.csv"
    history.to_csv(path)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=rf"run\.csv, line 3 must be a record of a history; .*{why}"):
        History.from_csv(path)


RECORD = {
    "epoch": 1, "updates": 3, "seconds": 1.0, "rows_per_second": 5.0, "validated": True, "improved": True,
    "train.loss": 1.0, "events": [],
}  # fmt: skip
WRONG = {
    "epoch": [math.inf, math.nan, 2**70, -(2**70), 1.5, True, "1", None, [1]],
    "updates": [10**400],
    "seconds": [10**400, "1.0", None, True],
    "validated": [1, "False", None],
    "train.loss": [10**400, "1.0", "nan", None, [1.0], True],
    "events": ["text", [1], None, {"a": 1}],
}
DAMAGED = [json.dumps({**RECORD, name: value}) for name, values in WRONG.items() for value in values]


@pytest.mark.parametrize(
    "line",
    [
        "{", "[]", '{"epoch": 1}', "", '{"epoch": "x"}', "\x00", "[" * 100_000, '{"a":' * 100_000, "9" * 5000,
        json.dumps(RECORD).replace("1.0", "9" * 5000, 1), *DAMAGED,
    ],
    ids=lambda line: line[:150],
)  # fmt: skip
def test_a_damaged_json_line_is_named(history, tmp_path, line):
    path = tmp_path / "run.jsonl"
    history.to_json_lines(path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], line, *lines[2:], ""]))
    with pytest.raises(ValueError, match=r"run\.jsonl, line 3 must be a record of a history, got b"):
        History.from_json_lines(path)


# ---- the file that grows


def test_each_record_is_in_the_file_when_append_returns(tmp_path):
    path = tmp_path / "run.jsonl"
    with HistoryFile(path) as file:
        for i, r in enumerate(RECORDS, 1):
            file.append(r)
            assert same(History.from_json_lines(path), RECORDS[:i])
            assert file.offset == path.stat().st_size == file.sync()


@given(cut=st.integers(0, 700))
def test_a_torn_last_line_is_ignored_and_logged_once(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("history") / "run.jsonl"
    History(RECORDS).to_json_lines(path)
    content = path.read_bytes()[:cut]
    path.write_bytes(content)
    whole, torn = content.count(b"\n"), content[-1:] not in (b"", b"\n")
    log = logging.getLogger("downhill2")
    messages = []
    handler = logging.Handler()
    handler.emit = lambda entry: messages.append(entry.getMessage())
    log.addHandler(handler)
    try:
        assert same(History.from_json_lines(path), RECORDS[:whole])
    finally:
        log.removeHandler(handler)
    assert messages == [f"{path} ends in the middle of line {whole + 1}, which is ignored"] * torn


def test_a_writer_goes_on_after_the_last_whole_line(tmp_path):
    path = tmp_path / "run.jsonl"
    History(RECORDS[:2]).to_json_lines(path)
    path.write_bytes(path.read_bytes() + b'{"epoch": 2, "upda')
    with HistoryFile(path) as file:
        file.append(RECORDS[2])
    assert same(History.from_json_lines(path), RECORDS[:3])


LINES = b"".join(map(encoded, RECORDS[:2]))
FOREIGN = {
    "a line": b"precious\n",
    "a word": b"precious",
    "an array": b"\x93NUMPY\x01\x00v\x00{'descr': '<f8'}\n" + bytes(range(256)),
    "bytes": bytes(1000),
    "an empty line": b"\n",
    "records of others": b'{"epoch": 1, "loss": 0.5}\n{"epoch": 2, "loss": 0.25}\n',
    "a record of others without its end": b'{"epoch": 1, "loss": 0.5}',
    "ours and then others'": LINES + b"precious\n",
    "others' and then ours": b"precious\n" + LINES,
    "a list": b"[1, 2]\n",
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_a_file_that_is_no_history_is_refused_and_stays(content, tmp_path):
    path = tmp_path / "data"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"history must be a new file or that of a history, got .*data, which holds so"
    ):
        HistoryFile(path)
    assert path.read_bytes() == content


@given(content=st.binary(max_size=40) | st.builds(bytes.__add__, st.just(LINES), st.binary(max_size=40)))
def test_no_byte_of_a_file_is_lost_but_a_torn_line_after_records(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("history") / "run.jsonl"
    path.write_bytes(content)
    try:
        with HistoryFile(path) as file:
            file.append(RECORDS[2])
    except ValueError:
        assert path.read_bytes() == content
    else:
        whole = content[: content.rfind(b"\n") + 1]
        assert path.read_bytes() == whole + encoded(RECORDS[2])
        assert whole == LINES or b'{"epoch": '.startswith(content[:10])  # 40 bytes are no whole record


@pytest.mark.parametrize("end", range(len(LINES) + 1))
def test_a_writer_goes_on_after_a_kill_at_any_byte(end, tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_bytes(LINES[:end])
    with HistoryFile(path) as file:
        file.append(RECORDS[2])
    ends = [i for i, byte in enumerate(LINES, 1) if byte == 10]
    # a record that lacks nothing but its end is none that a kill tore
    whole = sum(end >= place - 1 for place in ends)
    assert same(History.from_json_lines(path), [*RECORDS[:whole], RECORDS[2]])


@pytest.mark.parametrize("written", [0, 1, 2])
def test_lines_that_are_written_again_are_cut_where_nobody_wrote_after_them(written, tmp_path):
    path = tmp_path / "run.jsonl"
    lines = LINES.splitlines(keepends=True)
    path.write_bytes(encoded(RECORDS[3]) + b"".join(lines[:written]))
    with HistoryFile(path) as file:
        file.take_back(LINES)
        assert path.read_bytes() == encoded(RECORDS[3])
        assert file.offset == path.stat().st_size
    path.write_bytes(LINES + encoded(RECORDS[3]))
    with HistoryFile(path) as file:
        file.take_back(LINES)
    assert path.read_bytes() == LINES + encoded(RECORDS[3])


def test_a_file_has_one_writer_at_a_time(tmp_path):
    path = tmp_path / "run.jsonl"
    with HistoryFile(path) as file:
        file.append(RECORDS[0])
        with pytest.raises(ValueError, match=r"history must be a file that no other run writes to, got .*run\.jsonl"):
            HistoryFile(path)
    with HistoryFile(path) as file:
        file.append(RECORDS[1])
    assert path.read_bytes() == LINES


def test_a_writer_cuts_the_file_back_to_the_offset(tmp_path):
    path = tmp_path / "run.jsonl"
    with HistoryFile(path) as file:
        file.append(RECORDS[0])
        offset = file.offset
        file.append(RECORDS[1])
        file.append(RECORDS[2])
    with HistoryFile(path, offset) as file:
        assert same(History.from_json_lines(path), RECORDS[:1])
        file.append(RECORDS[3])
    assert same(History.from_json_lines(path), [RECORDS[0], RECORDS[3]])


@pytest.mark.parametrize(
    ("offset", "message"),
    [(10**6, r"offset must be at most \d+, the length of .*, got 1000000"), (7, "offset must be at the end of a line")],
)
def test_an_offset_that_no_writer_had_is_refused_and_the_file_stays(tmp_path, offset, message):
    path = tmp_path / "run.jsonl"
    History(RECORDS).to_json_lines(path)
    content = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        HistoryFile(path, offset)
    assert path.read_bytes() == content


def test_a_process_that_is_killed_loses_no_record(tmp_path):
    path = tmp_path / "run.jsonl"
    script = textwrap.dedent(
        """
        import os, signal, sys
        from downhill2.keeping.history_file import HistoryFile
        from downhill2.loop.run import Record
        file = HistoryFile(sys.argv[1])
        for epoch in range(20):
            file.append(Record(epoch, epoch, 0.5, {"loss": 1.0}, {}, False, False))
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    process = subprocess.run([sys.executable, "-c", script, os.fspath(path)], check=False)
    assert process.returncode == -9
    assert History.from_json_lines(path)["epoch"].tolist() == list(range(20))
