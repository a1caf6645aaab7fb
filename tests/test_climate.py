import io
import logging
import sys
from types import SimpleNamespace

import pytest

from downhill2 import climate


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def logger(monkeypatch):
    """Return the package's logger; what a test sets on it is undone."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    logger = logging.getLogger("downhill2")
    level, handlers = logger.level, list(logger.handlers)
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.fixture
def on_terminal(monkeypatch, logger):
    """Return what logs a line on a terminal and returns what that shows."""

    def log(level=logging.INFO, **extra):
        # Not when the fixture is made: between then and the test pytest exchanges the streams.
        monkeypatch.setattr(sys, "stderr", Terminal())
        climate.enable_default_logging()
        logger.log(level, "line", extra=extra)
        return sys.stderr.getvalue()

    return log


def test_what_costs_something_is_printed_though_nobody_set_logging_up(capsys, monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])  # those of pytest
    log = climate.get_logger("script")
    log.info("unheard")
    log.warning("a checkpoint is lost")
    log.error("so is another")
    assert capsys.readouterr() == ("", "a checkpoint is lost\nso is another\n")


def test_a_program_may_silence_the_package(capsys, monkeypatch, logger):
    monkeypatch.setattr(logging.root, "handlers", [])
    logger.addHandler(logging.NullHandler())
    logger.error("unheard")
    assert capsys.readouterr() == ("", "")


class WithConsole(logging.Handler):
    """A handler as that of rich: its stream is that of a console."""

    def __init__(self, stream):
        super().__init__()
        self.console = SimpleNamespace(file=stream)

    def emit(self, record):
        self.console.file.write(f"{record.getMessage()}\n")


@pytest.mark.parametrize("where", ["downhill2", None])
@pytest.mark.parametrize("kind", [logging.StreamHandler, WithConsole])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("first", [True, False])
def test_a_line_that_another_handler_prints_is_printed_once(where, kind, stream, first, capsys, monkeypatch, logger):
    owner = logging.getLogger(where)
    monkeypatch.setattr(owner, "handlers", [*owner.handlers])
    if first:
        owner.addHandler(kind(getattr(sys, stream)))
    climate.enable_default_logging()
    if not first:
        owner.addHandler(kind(getattr(sys, stream)))
    climate.get_logger("script").info("heard")
    printed = capsys.readouterr()
    assert getattr(printed, stream[3:]) == "heard\n"
    assert "".join(printed).count("heard") == 1


def test_a_line_that_others_write_elsewhere_or_leave_out_is_printed_too(capsys, monkeypatch, logger, tmp_path):
    others = [logging.FileHandler(tmp_path / "log"), logging.StreamHandler(io.StringIO()), logging.StreamHandler()]
    others[-1].setLevel("ERROR")
    monkeypatch.setattr(logging.root, "handlers", others)
    climate.enable_default_logging()
    logger.info("heard")
    others[0].close()
    assert capsys.readouterr().err.endswith(" heard\n")
    assert (tmp_path / "log").read_text() == "heard\n"
    logger.propagate = False
    others[-1].setLevel("INFO")
    try:
        logger.info("heard")
    finally:
        logger.propagate = True
    assert capsys.readouterr().err.startswith("I ")


def test_lines_go_to_standard_error(capsys, logger):
    climate.enable_default_logging()
    logger.info("heard")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("I ")
    assert err.endswith(" heard\n")


def test_enabling_twice_prints_once(capsys, logger):
    climate.enable_default_logging()
    climate.enable_default_logging()
    logger.info("heard")
    assert capsys.readouterr().err.count("heard") == 1


@pytest.mark.parametrize("level", ["WARNING", logging.WARNING])
def test_the_level_may_be_a_name_or_a_number_and_is_set_anew_each_time(capsys, logger, level):
    climate.enable_default_logging()
    climate.enable_default_logging(level)
    logger.info("unheard")
    logger.warning("heard")
    err = capsys.readouterr().err
    assert "unheard" not in err
    assert "W " in err


@pytest.mark.parametrize(("level", "error"), [("LOUD", ValueError), (1.5, TypeError)])
def test_a_level_that_logging_does_not_know_is_refused(level, error):
    with pytest.raises(error):
        climate.enable_default_logging(level)


def test_the_root_logger_is_left_alone():
    root = logging.getLogger()
    before = (root.level, list(root.handlers), logging.getLogger("elsewhere").getEffectiveLevel())
    climate.enable_default_logging("DEBUG")
    assert before == (root.level, root.handlers, logging.getLogger("elsewhere").getEffectiveLevel())


def test_lines_follow_a_standard_error_that_is_exchanged(monkeypatch, logger):
    climate.enable_default_logging()
    for _ in range(2):
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        logger.info("heard")
        assert "heard" in stream.getvalue()
        stream.close()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("downhill2", "downhill2"),
        ("downhill2.base", "downhill2.base"),
        ("downhill2000", "downhill2.downhill2000"),
        ("__main__", "downhill2.__main__"),
    ],
)
def test_a_logger_of_any_name_is_below_the_package(name, expected):
    assert climate.get_logger(name).name == expected


def test_what_a_script_logs_is_printed_when_logging_is_on(capsys):
    climate.enable_default_logging()
    climate.get_logger("my.script").info("test accuracy %.2f", 0.987)
    assert "test accuracy 0.99" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("level", "extra", "colour"),
    [
        (logging.INFO, {"improved": True}, "\x1b[32m"),
        (logging.INFO, {"improved": False}, "\x1b[36m"),
        (logging.WARNING, {}, "\x1b[33m"),
        (logging.ERROR, {"improved": True}, "\x1b[31m"),
    ],
)
def test_validations_and_trouble_are_coloured_on_a_terminal(on_terminal, level, extra, colour):
    shown = on_terminal(level, **extra)
    assert shown.startswith(colour)
    assert shown.endswith("line\x1b[0m\n")


def test_an_epoch_is_not_coloured(on_terminal):
    assert on_terminal().endswith("line\n")
    assert "\x1b" not in on_terminal()


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_the_environment_turns_colour_off(monkeypatch, on_terminal, variable, value):
    monkeypatch.setenv(variable, value)
    shown = on_terminal(improved=True)
    assert shown.endswith("line\n")
    assert "\x1b" not in shown


def test_nothing_is_coloured_in_a_pipe(capsys, logger):
    climate.enable_default_logging()
    logger.info("line", extra={"improved": True})
    err = capsys.readouterr().err
    assert err.endswith("line\n")
    assert "\x1b" not in err


def test_an_epoch_is_one_line():
    assert climate.epoch_line("Adam", 3, {"loss": 0.1234567, "accuracy": 1.0}) == "Adam 3 loss=0.123457 accuracy=1"


@pytest.mark.parametrize(("improved", "mark"), [(True, " *"), (False, "")])
def test_a_validation_has_a_mark_where_the_best_improved(improved, mark):
    line = climate.validation_line("Adam", 10, {"loss": float("nan"), "accuracy": 12345.678}, improved)
    assert line == f"Adam 10 validation loss=nan accuracy=12345.7{mark}"
