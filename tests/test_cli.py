"""The command line: what each command prints, writes and returns, and what it says of mistakes."""

from __future__ import annotations

import ast
import configparser
import doctest
import importlib.util
import json
import logging
import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from algorithms import TYPICAL

import downhill2
from downhill2 import cli
from downhill2.cli import diagnoses, latex, output, probes
from downhill2.cli.docstrings import as_text

ROOT = Path(downhill2.__file__).parents[1]
PNG = b"\x89PNG"

PROBLEM = """
import os
import signal

import numpy as np
import pytensor
import pytensor.tensor as pt

number = 3


def line(seed, **settings):
    rng = np.random.default_rng(seed)
    x, y = pt.vector("x"), pt.vector("y")
    w, b = (pytensor.shared(rng.normal(), name=name) for name in "wb")
    X = rng.normal(size=60)
    Y = 2 * X - 1 + rng.normal(size=60) / 10
    limits = dict(max_epochs=3, validate_every=1, learning_rate=0.1)
    return dict(loss=((x * w + b - y) ** 2).mean(), train=[X[:40], Y[:40]], valid=[X[40:], Y[40:]], **limits | settings)


def unvalidated(seed):
    return line(seed, validate_every=None)


def no_dict(seed):
    return 3


def no_loss(seed):
    return {"train": None}


def no_train(seed):
    return {"loss": None}


def fails(seed):
    return {}["a"]


def leaves(seed):
    raise SystemExit(0)


def misspelt(seed):
    return line(seed, learning_rat=0.1)


def chooses(seed):
    return line(seed, algo="adam")


def exits(seed):
    def callback(opt, record):
        raise SystemExit("no licence")

    return line(seed, callbacks=[callback])


def odd_callbacks(seed):
    return line(seed, callbacks=3)


def breaks(seed):
    def callback(opt, record):
        if record.updates:
            raise RuntimeError("the disk is full")

    return line(seed, callbacks=[callback])


def stopped(seed):
    def callback(opt, record):
        if record.updates:
            signal.raise_signal(signal.SIGTERM if seed else signal.SIGINT)

    return line(seed, callbacks=[callback])


def interrupted(seed):
    raise KeyboardInterrupt


def hopeless(seed):
    problem = line(seed, validate_every=None)
    return problem | {"train": [values + np.nan for values in problem["train"]]}


def endless(seed):
    print("begun", flush=True)
    return line(seed, max_epochs=None, patience=None)
"""


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path, own_algorithms):
    """An empty folder with a module `problem`; modules, their path, logger and registry are put back afterwards."""
    (tmp_path / "problem.py").write_text(PROBLEM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    logger, modules = logging.getLogger("downhill2"), set(sys.modules)
    level, handlers = logger.level, list(logger.handlers)
    yield tmp_path
    logger.setLevel(level)
    logger.handlers[:] = handlers
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


@pytest.fixture
def run(capsys):
    """Run a command line; return the exit code, and what it printed on both streams."""

    def run(*arguments):
        capsys.readouterr()
        code = cli.main([str(a) for a in arguments])
        return SimpleNamespace(code=code, **capsys.readouterr()._asdict())

    return run


@pytest.fixture
def terminal(monkeypatch):
    """Return what makes standard output a terminal: between fixtures and test pytest exchanges the streams."""
    monkeypatch.setenv("TERM", "dumb")
    return lambda: monkeypatch.setattr(sys.stdout, "isatty", lambda: True)


def refused(done, *said, code=2):
    """Check that a command said what was wrong in one line."""
    assert (done.code, done.out) == (code, "")
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.err
    for part in said:
        assert part in done.err, done.err


def rows(text):
    """Return the cells of a table that was printed for programs."""
    return [line.split("\t") for line in text.splitlines()]


def records(n=4, **monitors):
    """Return the history of a run that was made up."""
    monitors = monitors or {"loss": 1.0}

    def scaled(i):
        return {name: value / i for name, value in monitors.items()}

    return downhill2.History(
        [downhill2.Record(i, 10 * i, i / 10, scaled(i), scaled(i + 1), True, True) for i in range(1, n + 1)]
    )


# -- the frame


def test_help_lists_the_commands(run):
    done = run("--help")
    assert done.code == 0
    assert done.err == ""
    assert all(re.search(rf"^  {name} +\w", done.out, re.MULTILINE) for name in cli.COMMANDS)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_of_a_command_has_examples_that_it_understands(command, run):
    done = run(command, "--help")
    assert done.code == 0
    _, _, examples = done.out.partition("examples:\n")
    lines = [re.split(r"  +|[|>]", line.strip())[0].replace('"', "") for line in examples.splitlines()]
    assert len(lines) > 1
    for line in lines:
        program, *arguments = line.split()
        assert program == "downhill2"
        assert cli._parser().parse_args(arguments).command == command


def test_without_a_command_help_is_shown_as_a_mistake(run):
    done = run()
    assert (done.code, done.out) == (2, "")
    assert "commands:" in done.err


def test_the_version_is_told(run):
    done = run("--version")
    assert (done.code, done.out) == (0, f"downhill2 {downhill2.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compar"], "unknown command 'compar'; did you mean 'compare'?"),
        (["xyzzy"], "unknown command 'xyzzy'; see downhill2 --help"),
        (["--jsn"], "unrecognized arguments: --jsn"),
        (["plot"], "downhill2 plot: the following arguments are required: RUN"),
        (["demo", "--epochs", "0"], "argument --epochs: must be a number from 1 on, got '0'"),
        (["compare", "problem:line", "--algos", "adam", "--seeds", "two"], "must be a number from 1 on, got 'two'"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(arguments, said, run):
    refused(run(*arguments), said)


def test_help_loads_nothing_that_is_slow_to_load():
    program = "import sys; from downhill2.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert not loaded & {"matplotlib", "sklearn", "rich", "jinja2", "numba", "scipy", "pandas", "torch", "jax"}


def test_the_package_is_a_program(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["python -m downhill2", "algorithms", "adm"])
    monkeypatch.delitem(sys.modules, "downhill2.__main__", raising=False)
    with pytest.raises(SystemExit) as end:
        runpy.run_module("downhill2", run_name="__main__")
    refused(SimpleNamespace(code=end.value.code, **capsys.readouterr()._asdict()), "did you mean 'adam'?")


@pytest.mark.parametrize("arguments", [["algorithms", "--json"], ["--help"]], ids=" ".join)
def test_a_reader_that_goes_away_is_no_error(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}  # so that what is short is written when all is done
    command = [sys.executable, "-m", "downhill2", *arguments]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, cwd=ROOT, env=environment, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("closed", "arguments", "code"), [("stdout", ["algorithms"], 0), ("stderr", ["algorithms", "adm"], 2)]
)
def test_a_stream_that_is_closed_is_no_error(closed, arguments, code, monkeypatch, capsys):
    monkeypatch.setattr(sys, closed, None)
    assert cli.main(arguments) == code
    with getattr(sys, closed) as stream:
        assert stream.name == os.devnull
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (BrokenPipeError(), 141, ""),
        (OSError(28, "No space left on device"), 1, "downhill2: [Errno 28] No space left on device\n"),
    ],
)
def test_what_can_no_longer_be_written_goes_nowhere(error, code, said, capsys, monkeypatch):
    def fail(text):
        raise error

    exchanged = []
    with monkeypatch.context() as patch:  # no longer than needed: pytest exchanges streams too
        patch.setattr(os, "dup2", lambda *numbers: exchanged.append(numbers) or os.close(numbers[0]))
        patch.setattr(sys, "stdout", SimpleNamespace(fileno=lambda: 99, isatty=lambda: False, write=fail))
        assert cli.main(["algorithms"]) == code
    assert [number for _, number in exchanged] == [99]
    assert capsys.readouterr().err == said


def test_ctrl_c_ends_a_comparison_quietly(place):
    # these tests may run where Ctrl-C is ignored, which a process hands down
    program = (
        "import runpy, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "runpy.run_module('downhill2', run_name='__main__')"
    )
    command = [sys.executable, "-c", program, "compare", "problem:endless", "--algos", "sgd", "--seeds", "1"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "PYTENSOR_FLAGS": "mode=FAST_COMPILE"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=place, env=environment, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "begun\n"
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=120)
        finally:
            process.kill()  # it would never end
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_a_signal_to_a_run_ends_the_comparison(run):
    done = run("compare", "problem:stopped", "--algos", "sgd", "--seeds", 2)
    assert (done.code, done.out, done.err) == (130, "", "")


def test_an_algorithm_of_the_module_is_compared_too(run, place):
    source = "import downhill2\nfrom problem import line\n\n\nclass Mine(downhill2.SGD):\n    pass\n"
    (place / "own.py").write_text(source)
    assert rows(compared(run, problem="own:line", algos="mine", seeds=1).out)[1][0] == "mine"


def test_a_termination_is_answered_by_the_handler_of_the_program(run, place):
    (place / "other.py").write_text("from problem import stopped\n\n\ndef term(seed):\n    return stopped(1)\n")
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(7))
    try:
        assert run("compare", "other:term", "--algos", "sgd").code == 7
    finally:
        signal.signal(signal.SIGTERM, before)


def test_ctrl_c_anywhere_else_is_quiet_too(run):
    done = run("compare", "problem:interrupted", "--algos", "sgd")
    assert (done.code, done.out, done.err) == (130, "", "")


# -- what is printed


TABLE = output.TextTable(["name", "count"], [["a\tb", "1"], ["[bold]", "22"]], numbers={"count"})


def test_a_table_in_a_pipe_has_tabs_between_cells(capsys):
    TABLE.show()
    assert capsys.readouterr().out == "name\tcount\na b\t1\n[bold]\t22\n"


def test_a_table_in_a_terminal_is_aligned(capsys, terminal, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    terminal()
    TABLE.show()
    assert capsys.readouterr().out == "name    count\na b         1\n[bold]     22\n"


def test_a_table_in_a_terminal_is_drawn_by_rich_where_that_is_installed(capsys, terminal):
    pytest.importorskip("rich")
    terminal()
    TABLE.show()
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert [line.split() for line in lines[:1] + lines[2:]] == [["name", "count"], ["a", "b", "1"], ["[bold]", "22"]]
    assert set(lines[1].strip()) == {"─"}
    assert all(line.endswith(end) for line, end in zip(lines[2:], ["    1", "   22"], strict=True))


def test_json_has_no_numbers_that_the_standard_lacks(capsys):
    values = {"a": [np.float64("nan"), float("inf"), -float("inf"), np.int64(3)], 2: (None, True, "x"), "c": {1}}
    output.show(True, values, TABLE.show)
    assert json.loads(capsys.readouterr().out) == {
        "a": ["NaN", "Infinity", "-Infinity", 3],
        "2": [None, True, "x"],
        "c": "{1}",
    }


@pytest.mark.parametrize(("values", "text"), [([], "-"), ([2.0], "2"), ([1.0, 3.0], "2 ± 1.4")])
def test_a_spread_is_mean_and_standard_deviation(values, text):
    assert output.spread(values) == text


def test_text_is_never_set_very_wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    assert output.width() == output.MOST_COLUMNS


# -- formulas and docstrings


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (r"\theta_{t-1} - \eta\, \hat m_t", "θ_(t-1) - η m̂_t"),
        (r"\frac{a}{b}", "a / b"),
        (r"\frac{a}{b}\, c", "(a / b) c"),
        (r"\tfrac12 0.96^{t \psi}", "(1 / 2) 0.96^(t ψ)"),
        (r"\frac{a + b}{(c) (d - e)}, f", "(a + b) / ((c) (d - e)), f"),
        (r"\sqrt{v_t} + \sqrt[3]v + \sqrt{(a + b)}", "√v_t + ³√v + √(a + b)"),
        (r"g^2 v^+ b_{10} v_{ij} \rho_{\min}", "g² v^+ b₁₀ v_ij ρ_min"),
        (r"\left\| x \right\|_1 \leftarrow \mathrm{sign}(y) \quad \text{or } y \ge 0", r"‖ x ‖₁ ← sign(y) or y \ge 0"),
        (r"\begin{cases} a & x > 0 \\ b & \text{otherwise} \end{cases}", "{a if x > 0; b otherwise}"),
        (r"a^", "a^()"),
        (r"{a", "a"),
    ],
)  # fmt: skip
def test_a_formula_reads_as_text(source, text):
    assert latex.formula(source) == text


def test_equations_are_aligned_and_accents_take_no_room():
    source = r"\begin{aligned} \hat m_t &= 1, \quad b \\ v_{t+1} &= 2 \\ a \end{aligned}"
    assert latex.equations(source) == ["    m̂_t = 1, b", "v_(t+1) = 2", " " * 6 + "a"]


def test_a_docstring_is_set_for_its_reader():
    doc = (
        "Name: some words with a :math:`\\beta_1` that are too long for one line.\n\n"
        ".. math::\n\n    x &= 1\n\n"
        "Parameters\n----------\n"
        "rate : float, optional\n    Size of ``what``; it is\n    long too.\n\n"
        "References\n----------\n"
        ".. [1] Somebody (2020).\n   A title.\n.. [2] Another.\n\n.. [3] A.\n.. [4] B.\n\n"
        "Notes\n-----\n\n"
        "Examples\n--------\n"
        ">>> f(\n...     1)\n2"
    )
    assert as_text(doc, 24).split("\n\n") == [
        "Name: some words with a\nβ₁ that are too long for\none line.",
        "    x = 1",
        "Parameters\n----------\nrate : float, optional\n    Size of what; it is\n    long too.",
        "References\n----------\n[1] Somebody (2020). A\n    title.\n[2] Another.",
        "[3] A.\n[4] B.",
        "Notes\n-----",
        "Examples\n--------\n    >>> f(\n    ...     1)\n    2",
    ]


# -- algorithms


def test_all_algorithms_stand_in_the_table(run):
    done = run("algorithms")
    assert done.code == 0
    header, *found = rows(done.out)
    assert header == ["name", "state", "settings", "paper"]
    known = downhill2.list_algorithms()
    assert [row[0] for row in found] == list(known)
    assert [float(row[1]) for row in found] == [round(a.memory, 2) for a in known.values()]
    adam = dict(zip(header, found[list(known).index("adam")], strict=True))
    assert adam["settings"] == "learning_rate, beta1, beta2, epsilon, epsilon_at"
    assert adam["paper"] == "Kingma and Ba 2014"
    assert all(re.fullmatch(r"[A-Z][\w-]+( and [A-Z][\w-]+| et al\.)? \d{4}", row[3]) for row in found)


def test_json_of_the_algorithms_has_all_there_is_to_know(run):
    found = {a["name"]: a for a in json.loads(run("algorithms", "--json").out)}
    assert list(found) == list(downhill2.list_algorithms())
    alone = json.loads(run("algorithms", "adam", "--json").out)
    assert alone == found["adam"]
    assert alone["settings"]["learning_rate"] == 1e-4
    assert alone["names"]["beta1"] == ["beta1", "beta1_halflife"]
    assert alone["presets"]["optax"] == {"beta1": 0.9, "beta2": 0.999}
    assert alone["numbers_per_element"] == 2
    assert alone["documentation"].startswith(alone["summary"])


@pytest.mark.parametrize("name", sorted(TYPICAL))
def test_a_page_has_text_for_all_formulas(name, run):
    done = run("algorithms", name)
    assert done.code == 0
    assert not re.search(r"\\|:math:|``|\.\. ", done.out)
    assert all(s in done.out for s in ("Parameters\n", "Settings\n", "Presets\n", "\nState: "))


def test_a_page_has_equations_settings_presets_and_state(run):
    page = run("algorithms", "Adam").out
    assert "\n    θ_t = θ_(t-1) - η m̂_t / (√v̂_t + ε)\n" in page
    assert "beta1\t0.9057\tin [0, 1)\tbeta1_halflife\n" in page
    assert "epsilon_at\t'outside'\t'outside', 'hat'\t\n" in page
    assert "preset='downhill'\tthe defaults\n" in page
    assert "\nState: m, v; 2 numbers for each element of a parameter.\n" in page
    assert max(map(len, page.partition("Settings\n")[0].splitlines())) <= 80
    assert "centered\tTrue\tbool\t\n" in run("algorithms", "rmsprop").out


def test_an_algorithm_of_ones_own_has_a_page_too(run):
    class Plain(downhill2.Optimizer):
        def direction(self, param, grad):
            return grad, {}

    assert "\nplain\t0\tlearning_rate\t\n" in run("algorithms").out
    page = run("algorithms", "plain").out
    assert "none: no other library has it" in page
    assert "State: none; 0 numbers" in page


@pytest.mark.parametrize(("name", "said"), [("adm", "; did you mean 'adam'?"), ("xyzzy", "'xyzzy';")])
def test_an_unknown_algorithm_is_told_with_the_nearest(name, said, run):
    refused(run("algorithms", name), f"unknown algorithm {name!r}", said, "`downhill2 algorithms` lists all")


# -- plot and report


@pytest.fixture
def saved(place):
    """Paths of runs of each kind: a checkpoint directory and two kinds of files."""
    directory = place / "first"
    directory.mkdir()
    records(loss=1.0, accuracy=0.5).to_json_lines(directory / "history.jsonl")
    records(3).to_json_lines(place / "second.jsonl")
    records(3).to_csv(place / "third.csv")
    return directory, place / "second.jsonl", place / "third.csv"


@pytest.fixture
def drawn(monkeypatch):
    """The histories that are drawn, each with the names of its monitors."""
    calls = []
    original = downhill2.plots.learning_curves
    monkeypatch.setattr(downhill2.plots, "learning_curves", lambda h, **kw: calls.append((h, kw)) or original(h, **kw))
    return calls


def test_runs_of_all_kinds_are_drawn_together(saved, run, drawn, place):
    done = run("plot", *saved)
    assert (done.code, done.out, done.err) == (0, "curves.png\n", "")
    assert (place / "curves.png").read_bytes().startswith(PNG)
    histories, settings = drawn[0]
    assert {name: len(h) for name, h in histories.items()} == {"first": 4, "second.jsonl": 3, "third.csv": 3}
    assert settings == {"monitor": "loss"}


def test_another_monitor_is_drawn_in_another_format(saved, run, drawn, place):
    assert run("plot", "first/", "--monitor", "accuracy", "-o", "a.svg").code == 0
    assert "<svg" in (place / "a.svg").read_text()
    assert list(drawn[0][0]) == ["first"]
    assert drawn[0][1] == {"monitor": "accuracy"}


def test_runs_of_one_name_are_told_apart(saved, run, drawn):
    os.mkdir("other")
    records().to_json_lines("other/second.jsonl")
    assert run("plot", "second.jsonl", "other/second.jsonl").code == 0
    assert list(drawn[0][0]) == ["second.jsonl", "other/second.jsonl"]


BAD_RUNS = {
    "nothing": "there is no nothing; name a checkpoint directory or a history file",
    "problem.py": "problem.py is no history (problem.py, line 1 must be a record of a history, got b''",
    "picture.png": "picture.png is no history",
    "binary.csv": "binary.csv is no history",
    "table.csv": "table.csv is no history (table.csv must have a column 'epoch', got 'a', 'b')",
    "folder": "folder is a directory without a history.jsonl; name that of a run with checkpoint=",
    "empty.jsonl": "empty.jsonl has a history without a record",
    "nested.jsonl": "nested.jsonl is no history (nested.jsonl, line 1 must be a record of a history, got b'[[[",
    "large.jsonl": "epoch must be at most 9223372036854775807, got 1180591620717411303424",
    "endless.jsonl": "epoch must be an integer, got inf",
    "large.csv": "large.csv, line 2 must be a record of a history; epoch must be at most 9223372036854775807",
}


@pytest.fixture
def bad(place):
    (place / "picture.png").write_bytes(PNG + bytes(range(256)))
    (place / "binary.csv").write_bytes(bytes(range(256)))
    (place / "table.csv").write_text("a,b\n1,2\n")
    (place / "folder").mkdir()
    (place / "empty.jsonl").touch()
    record = {"epoch": 1, "updates": 1, "seconds": 1.0, "rows_per_second": 1.0, "validated": True, "improved": False}
    for name, epoch in {"large": 2**70, "endless": float("inf")}.items():
        (place / f"{name}.jsonl").write_text(json.dumps({**record, "epoch": epoch, "events": []}) + "\n")
    cells = ",".join(json.dumps(value) for value in {**record, "epoch": 2**70}.values())
    (place / "large.csv").write_text(f"{','.join(record)},events\n{cells},[]\n")
    (place / "nested.jsonl").write_text("[" * 100_000 + "\n")


@pytest.mark.parametrize("command", ["plot", "report"])
@pytest.mark.parametrize("name", BAD_RUNS)
def test_what_is_no_run_is_told(command, name, bad, run):
    refused(run(command, name), BAD_RUNS[name])


@pytest.mark.parametrize("command", ["plot", "report"])
def test_a_run_that_must_not_be_read_is_told(command, saved, run, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(downhill2.History, "from_json_lines", refuse)
    refused(run(command, "second.jsonl"), "cannot read second.jsonl: Permission denied")


def test_a_monitor_that_is_not_there_is_told_with_those_that_are(saved, run):
    refused(run("plot", "first", "--monitor", "acuracy"), "acuracy", "accuracy")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("away/a.png", "cannot write away/a.png: there is no directory away; make it first"),
        ("first", "cannot write first: it is a directory; name a file in it"),
        ("a.xyz", "cannot write a.xyz: no picture is called so; name it .png, .svg or .pdf"),
        ("a", "cannot write a: no picture is called so; name it .png, .svg or .pdf"),
    ],
)
def test_a_picture_that_cannot_be_written_is_told(target, said, saved, run):
    refused(run("plot", "first", "-o", target), said)


def test_a_full_disk_is_a_failure(saved, run, monkeypatch):
    from matplotlib.figure import Figure

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", fail)
    refused(run("plot", "first"), "cannot write curves.png: No space left on device", code=1)


def test_a_report_is_written_beside_the_caller(saved, run, place):
    pytest.importorskip("jinja2")
    for source, target in zip(saved, ["first.html", "second.html", "third.html"], strict=True):
        done = run("report", source)
        assert (done.code, done.out, done.err) == (0, f"{target}\n", "")
        assert "<html" in (place / target).read_text()
    assert run("report", "first", "-o", "a.html").out == "a.html\n"
    assert run("report", "first").out == "first.html\n"  # over its own


def test_a_page_of_others_is_only_replaced_by_name(saved, run, place):
    pytest.importorskip("jinja2")
    (place / "first.html").write_text("<html>precious</html>")
    refused(run("report", "first"), "first.html is a file of another kind, and stays; name the page with --output")
    assert (place / "first.html").read_text() == "<html>precious</html>"
    assert run("report", "first", "-o", "first.html").code == 0
    assert "precious" not in (place / "first.html").read_text()


@pytest.mark.parametrize(("command", "told"), [("plot", {"picture": "curves.png"}), ("report", {"page": "first.html"})])
def test_json_of_what_is_written_has_its_name(command, told, saved, run):
    assert json.loads(run(command, "first", "--json").out) == told


def test_a_report_that_cannot_be_written_is_told(saved, run, monkeypatch):
    from downhill2.reporting import report

    def fail(target, source):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "write", fail)
    refused(run("report", "first"), "cannot write first.html: No space left on device", code=1)


@pytest.mark.parametrize(
    ("command", "extra"),
    [("plot first", "plot"), ("compare problem:no_dict --algos sgd -o a.png", "plot"), ("demo", "demo")],
)
def test_a_picture_needs_matplotlib_before_anything_else_is_done(command, extra, saved, run, monkeypatch):
    for name in ("matplotlib", "matplotlib.backend_bases"):
        monkeypatch.setitem(sys.modules, name, None)
    refused(run(*command.split()), "matplotlib", f"pip install 'downhill2[{extra}]'", code=1)


def test_a_missing_extra_is_told(saved, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    refused(run("report", "first"), "jinja2", "pip install 'downhill2[report]'", code=1)


# -- compare


def compared(run, *arguments, problem="problem:line", algos="adam,sgd", seeds=2):
    return run("compare", problem, "--algos", algos, "--seeds", seeds, *arguments)


def test_algorithms_are_compared_over_seeds(run):
    done = compared(run)
    assert done.code == 0
    header, *found = rows(done.out)
    assert header == ["algorithm", "best", "final", "seconds", "updates", "failed"]
    assert [row[0] for row in found] == ["sgd", "adam"]  # the best first
    assert all(re.fullmatch(r"\d\S* ± \d\S*", cell) for row in found for cell in row[1:3])
    assert [row[4:] for row in found] == [["6", "0 of 2"]] * 2
    assert [line.partition(":")[0] for line in done.err.splitlines()] == [
        f"{algo}, seed {seed}" for seed in (0, 1) for algo in ("adam", "sgd")
    ]


def by_algorithm(done):
    return {several["algorithm"]: several["runs"] for several in json.loads(done.out)}


def test_json_of_a_comparison_has_every_run_and_agrees_with_minimize(run):
    found = by_algorithm(compared(run, "--json", algos="adam"))
    import problem

    for seed, trial in enumerate(found["adam"]):
        _, valid = downhill2.minimize(**problem.line(seed), algo="adam", rng=seed)
        assert 0 < trial.pop("seconds") < 60
        assert trial == {"seed": seed, "best": valid["loss"], "final": valid["loss"], "updates": 6}


def test_settings_are_for_all_or_for_one(run):
    settings = ["--set", "sgd.max_epochs=1", "--set", "max_epochs=2", "--set", "preset=torch"]
    found = by_algorithm(compared(run, "--json", *settings, seeds=1))
    assert {algo: several[0]["updates"] for algo, several in found.items()} == {"adam": 4, "sgd": 2}


def test_without_validation_training_is_compared(run):
    found = by_algorithm(compared(run, "--json", problem="problem:unvalidated", algos="Sgd, sgd", seeds=1))
    assert list(found) == ["sgd"]
    assert 0 < found["sgd"][0]["best"] == found["sgd"][0]["final"]


def test_a_comparison_is_drawn(run, place, monkeypatch):
    calls = []
    original = downhill2.plots.compare
    monkeypatch.setattr(downhill2.plots, "compare", lambda h: calls.append(h) or original(h))
    done = compared(run, "-o", "both.png")
    assert done.out.endswith("\nboth.png\n")
    assert (place / "both.png").read_bytes().startswith(PNG)
    assert {name: [len(h) for h in several] for name, several in calls[0].items()} == {"adam": [4, 4], "sgd": [4, 4]}
    assert json.loads(compared(run, "-o", "both.png", "--json", seeds=1).out)


def test_runs_that_fail_are_counted(run):
    with np.errstate(all="ignore"):
        done = compared(run, "--set", "sgd.learning_rate=1e200", "-o", "a.png", seeds=1)
    assert done.code == 0
    assert rows(done.out)[2] == ["sgd", "-", "-", "-", "-", "1 of 1"]
    assert "sgd, seed 0: failed: " in done.err


def test_runs_that_never_began_are_not_drawn(run, place):
    done = compared(run, "-o", "a.png", problem="problem:hopeless", algos="sgd", seeds=1)
    assert done.code == 1
    assert done.err.endswith("no picture in a.png: no run came to its first record\n")
    assert not (place / "a.png").exists()


def test_when_all_fail_the_command_fails(run):
    done = compared(run, problem="problem:breaks", algos="sgd", seeds=1)
    assert done.code == 1
    assert "sgd, seed 0: failed: the disk is full" in done.err
    found = by_algorithm(compared(run, "--json", problem="problem:breaks", algos="sgd", seeds=1))
    assert found == {"sgd": [{"seed": 0, "failure": "the disk is full"}]}


def test_a_run_without_a_finite_loss_has_failed(run):
    with np.errstate(all="ignore"):
        settings = ["--set", "learning_rate=1e200", "--set", "on_nonfinite=stop", "-o", "a.png"]
        done = compared(run, *settings, algos="sgd", seeds=1)
    assert done.code == 1
    assert rows(done.out)[1][-1] == "1 of 1"


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (
            "no_dict",
            'problem:no_dict(0) must return a dict of arguments of downhill2.minimize, got int; return {"loss"',
        ),
        ("no_loss", "problem:no_loss(0) must return a dict with 'loss', got ['train']"),
        ("no_train", "problem:no_train(0) must return a dict with 'train', got ['loss']"),
        ("fails", "problem:fails(0) fails: KeyError: 'a' (problem.py, line "),
        ("leaves", "problem:leaves(0) fails: SystemExit"),
        ("misspelt", "problem:misspelt, sgd, seed 0: TypeError: SGD has no hyperparameter 'learning_rat'; did you"),
        ("chooses", "problem:chooses(0) must leave algo to --algos, got 'adam'"),
        ("exits", "problem:exits, sgd, seed 0: SystemExit: no licence (problem.py, line "),
        ("odd_callbacks", "problem:odd_callbacks, sgd, seed 0: TypeError: "),
        ("lin", "problem has no function 'lin'; did you mean 'line'?"),
        ("number", "problem:number must be a function of a seed, got 3"),
    ],
)
def test_a_wrong_problem_is_told(problem, said, run):
    refused(compared(run, problem=f"problem:{problem}", algos="sgd"), said)


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ("problem", "the problem must be MODULE:FUNCTION, got 'problem'; problem:make is make(seed) of problem.py"),
        ("problem.py:line", "MODULE must be as Python imports it, got 'problem.py'; write problem:line"),
        ("./a/problem.py:line", "write a.problem:line"),
        ("problm:line", "there is no module 'problm', here in "),
        ("numpy.nothing.more:line", "there is no module 'numpy.nothing.more'"),
        (
            "broken:line",
            "broken cannot be imported: ModuleNotFoundError: No module named 'nowhere' (broken.py, line 1)",
        ),
        ("faulty:line", "faulty cannot be imported: ZeroDivisionError: division by zero (faulty.py, line 1)"),
        ("wrong:line", "wrong cannot be imported: SyntaxError: "),
    ],
)
def test_a_module_that_cannot_be_imported_is_told(problem, said, run, place):
    (place / "broken.py").write_text("import nowhere\n")
    (place / "faulty.py").write_text("1 / 0\n")
    (place / "wrong.py").write_text("def line(:\n")
    refused(compared(run, problem=problem), said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--algos", "adm"], "unknown algorithm 'adm'; did you mean 'adam'?"),
        (["--algos", ","], "--algos must name an algorithm, got none"),
        (["--algos", "adam", "--set", "nag.momentum=0"], "--set must name one of --algos adam, got 'nag.momentum=0'"),
        (["--algos", "adam", "--set", "momentum"], "--set must be NAME=VALUE or ALGORITHM.NAME=VALUE, got 'momentum'"),
        (["--algos", "adam", "--set", "=3"], "--set must be NAME=VALUE"),
        (["--algos", "adam", "-o", "away/a.png"], "there is no directory away"),
        (["--algos", "adam", "-o", "a.xyz"], "cannot write a.xyz: no picture is called so"),
    ],
)
def test_wrong_arguments_of_a_comparison_are_told(arguments, said, run):
    refused(run("compare", "problem:line", *arguments), said)


# -- doctor


@pytest.fixture
def healthy(monkeypatch):
    """A machine where everything works, at once."""
    monkeypatch.setattr(probes, "blas", lambda: "OpenBLAS 0.3 of SciPy")
    monkeypatch.setattr(probes, "product_rate", lambda: 3e10)
    monkeypatch.setattr(probes, "training", lambda: probes.Training(1.2, 1e-4, False))
    monkeypatch.setattr(probes, "fit", lambda name: (0.5, []))
    monkeypatch.setattr(probes, "device", lambda name: "")
    monkeypatch.setattr(diagnoses, "version_of", lambda name: "1.0")
    monkeypatch.setattr(diagnoses.backends, "check", lambda name: None)
    monkeypatch.setattr(diagnoses, "SLOW_MODES", ())
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    for name in diagnoses.THREADS:
        monkeypatch.delenv(name, raising=False)


def verdict(run, check):
    """Return what `doctor` says of something, and its exit code."""
    done = run("doctor", "--json")
    return {f["check"]: f for f in json.loads(done.out)}[check], done.code


def test_doctor_finds_a_healthy_machine_healthy(healthy, run):
    done = run("doctor")
    assert (done.code, done.err) == (0, "")
    header, *found = rows(done.out)
    assert header == ["check", "state", "found", "what to do"]
    assert {row[1] for row in found} == {"ok"}
    assert [row[0] for row in found] == [*diagnoses.CHECKS, *(f"backend {n}" for n in ("numba", "c", "jax", "pytorch"))]


def test_doctor_names_extras_of_the_package():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert set(diagnoses.EXTRAS.values()) <= set(setup["options.extras_require"])


def test_doctor_says_in_a_terminal_that_it_takes_a_while(healthy, run, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert "up to a minute" in run("doctor").err


CASES = {
    "packages": ((diagnoses, "version_of", lambda name: "" if name == "scipy" else "1"), "broken", "pip install scipy"),
    "extras": ((diagnoses, "version_of", lambda name: "" if name == "jax" else "1"), "missing", "one of jax"),
    "settings": ((diagnoses, "SLOW_MODES", ("FAST_COMPILE",)), "slow", "mode=FAST_COMPILE is for finding faults"),
    "threads": ((os, "getloadavg", lambda: (1e4, 0.0, 0.0)), "slow", "the machine is busy (load 10000.0)"),
    "cache": ((diagnoses.pytensor.config, "numba__cache", False), "slow", "take numba__cache=False out"),
    "products": ((probes, "product_rate", lambda: 1e9), "slow", "a BLAS library should do ten times this"),
    "training": ((probes, "training", lambda: probes.Training(99, 1e-4, True)), "slow", "compiling is slow"),
    "backend c": ((probes, "fit", lambda name: 1 / 0), "broken", "mend it"),
}


@pytest.mark.parametrize("check", CASES)
def test_doctor_says_what_is_wrong_and_what_to_do(check, healthy, run, monkeypatch):
    (owner, name, value), state, advice = CASES[check]
    monkeypatch.setattr(owner, name, value)
    found, code = verdict(run, check)
    assert (found["state"], code) == (state, int(state == "broken"))
    assert advice in found["advice"]


def test_doctor_finds_slow_updates(healthy, run, monkeypatch):
    monkeypatch.setattr(probes, "training", lambda: probes.Training(1.0, 0.1, True))
    assert verdict(run, "training")[0]["state"] == "slow"


def test_doctor_finds_more_threads_than_cores(healthy, run, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "100000")
    found, _ = verdict(run, "threads")
    assert found["state"] == "slow"
    assert "set OMP_NUM_THREADS to " in found["advice"]


def test_doctor_advises_mkl_only_where_it_is_not_used(healthy, run, monkeypatch):
    monkeypatch.setattr(diagnoses.platform, "machine", lambda: "x86_64")
    assert "'downhill2[mkl]'" in verdict(run, "products")[0]["advice"]
    monkeypatch.setattr(probes, "blas", lambda: "Intel MKL")
    assert verdict(run, "products")[0]["advice"] == ""


def configured(monkeypatch, **flags):
    """Let PyTensor have flags that cannot be changed any more."""
    known = dict(mode="Mode", floatX="float64", numba__cache=True)
    monkeypatch.setattr(diagnoses, "pytensor", SimpleNamespace(config=SimpleNamespace(**known | flags)))


def test_doctor_finds_a_cache_that_cannot_be_written(healthy, run, monkeypatch, place):
    (place / "file").touch()
    configured(monkeypatch, base_compiledir=str(place / "file" / "below"))
    found, code = verdict(run, "cache")
    assert (found["state"], code) == ("broken", 1)
    assert "PYTENSOR_FLAGS=base_compiledir=" in found["advice"]


def test_doctor_counts_the_cache(healthy, run, monkeypatch, place):
    configured(monkeypatch, base_compiledir=str(place / "cache"))
    (place / "cache" / "numba").mkdir(parents=True)
    (place / "cache" / "numba" / "a.nbi").write_bytes(bytes(2_000_000))
    found, _ = verdict(run, "cache")
    assert found["found"].endswith("cache, 2 MB in 1 files")
    monkeypatch.setattr(diagnoses, "LARGE_CACHE", 1e6)
    assert verdict(run, "cache")[0]["advice"] == "it may be removed at any time"
    monkeypatch.setattr(os, "lstat", lambda path: (_ for _ in ()).throw(FileNotFoundError))
    assert verdict(run, "cache")[0]["found"].endswith("0 MB in 1 files")


@pytest.mark.parametrize("kind", [ImportError, ValueError])
def test_a_backend_that_is_not_installed_is_missing_and_not_broken(kind, healthy, run, monkeypatch):
    def refuse(name):
        raise kind("it needs jax; pip install 'downhill2[jax]'")

    monkeypatch.setattr(diagnoses.backends, "check", refuse)
    found, code = verdict(run, "backend jax")
    assert (found["state"], code) == ("missing", 0)
    assert found["advice"] == "pip install 'downhill2[jax]'"


def test_what_pytensor_warns_of_is_passed_on(healthy, run, monkeypatch):
    monkeypatch.setattr(probes, "fit", lambda name: (0.5, ["there is\nno BLAS", "and more"]))
    assert verdict(run, "backend c")[0]["advice"] == "there is no BLAS"


def test_doctor_says_on_which_device_jax_computes(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(default_backend=lambda: "gpu"))
    assert probes.device("jax") == " on gpu"
    assert probes.device("numba") == ""


def test_the_probes_are_real(monkeypatch):
    for name, value in {"SIDE": 8, "REPEATS": 1}.items():  # how fast this machine is proves nothing
        monkeypatch.setattr(probes, name, value)
    seconds, warned = probes.fit("FAST_COMPILE")
    assert seconds > 0
    assert warned == []
    assert probes.product_rate() > 0
    assert re.fullmatch(r"Intel MKL|\S+ \S+ of SciPy", probes.blas())
    found = probes.training()
    assert found.first > 0 < found.update
    assert isinstance(found.was_cached, bool)
    monkeypatch.setattr(probes, "blas_library", lambda: "mkl")
    assert probes.blas() == "Intel MKL"
    monkeypatch.setattr(np, "allclose", lambda a, b: False)
    with pytest.raises(ArithmeticError, match=r"two updates must give 3\.25 and 1\.75"):
        probes.fit("FAST_COMPILE")


# -- demo


def test_the_demo_tells_what_is_missing_before_it_trains(run, monkeypatch):
    for name in ("sklearn", "sklearn.datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    refused(run("demo", "--epochs", 1), "sklearn", "pip install 'downhill2[demo]'", code=1)


def plain_functions(path):
    """Return the functions of a file without docstrings and annotations, by name."""
    found = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            node.returns, node.body = None, node.body[1:]
            for argument in node.args.args:
                argument.annotation = None
            found[node.name] = ast.unparse(node).replace("need('sklearn.datasets', 'demo').", "")
    return found


def test_the_demo_is_the_example():
    demo, example = (plain_functions(ROOT / path) for path in ("downhill2/cli/demo.py", "examples/digits.py"))
    for name in ("split", "layers", "log_probabilities"):
        assert demo[name] == example[name]


# -- the page about it


def page():
    """Return what the documentation's page says: its problem, and its commands with what they print."""
    text = (ROOT / "docs" / "cli.md").read_text()
    problem = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    blocks = "".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL))
    commands = [re.fullmatch(r"(.*?)\n(.*)", c, re.DOTALL).groups() for c in re.split(r"^\$ ", blocks, flags=re.M)[1:]]
    return problem, commands


NEEDED = {"report": ["jinja2"], "demo": ["sklearn"], "compare": ["sklearn"]}


@pytest.mark.parametrize(("command", "printed"), page()[1], ids=[command for command, _ in page()[1]])
def test_the_page_shows_what_commands_print(command, printed, run, place, terminal, request, monkeypatch):
    program, *arguments = shlex.split(command)
    for needed in ("rich", *NEEDED.get(arguments[0], ())):
        pytest.importorskip(needed)
    if arguments[0] == "doctor":
        request.getfixturevalue("healthy")
        configured(monkeypatch, mode="Mode", base_compiledir=str(place))
    (place / "problem.py").write_text(page()[0])
    for name in ("first", "second"):
        (place / "runs" / name).mkdir(parents=True)
        records(loss=1.0, accuracy=0.5).to_json_lines(place / "runs" / name / "history.jsonl")
    terminal()
    done = run(*arguments)
    assert program == "downhill2"
    assert all((place / name).stat().st_size > 1000 for name in re.findall(r"\w+\.(?:png|svg|html)$", printed, re.M))
    assert done.code == (2 if printed.startswith("downhill2: ") else 0)
    rules = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    wanted, got = (as_told(text, arguments[0]) for text in (printed, done.err + done.out))
    assert doctest.OutputChecker().check_output(wanted, got, rules), got


def as_told(text, command):
    """Return what must agree: lines of any length; of what `doctor` finds here and elsewhere, where it looks."""
    if command == "doctor":
        return "".join(re.findall(r"^ (\w+(?: \w+)?)  ", text, re.MULTILINE))
    return re.sub("─+", "─", text)
