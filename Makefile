# Needs Python 3.11 or newer, pip and make; uses uv where there is one. Everything it makes stays in this folder.

VENV ?= .venv
PYTHON ?= $(shell .ci/find-python "v >= (3, 11)")
RUN = $(VENV)/bin/python
UV := $(shell command -v uv)

# One cache of compiled functions for demo and tests: the first of them pays for it. What is in PYTENSOR_FLAGS already wins.
export PYTENSOR_FLAGS := base_compiledir="$(CURDIR)/.cache/pytensor",$(PYTENSOR_FLAGS)

# With COVERAGE=1, tests note what they run for `make coverage`, and take a third longer.
export COVERAGE_FILE := $(CURDIR)/.cache/coverage/$(VENV)
COVERED = $(if $(COVERAGE),$(shell mkdir -p .cache/coverage)--cov=downhill2 --cov-append --cov-report=)

# A worker takes the tests of a file in a row, so that what they share is made once, until another has nothing left.
SPREAD = -n auto --dist worksteal

N ?= 10
BUSY ?= 0

export UV_PYTHON_DOWNLOADS := never

# Where bytecode is not kept, each worker of pytest rewrites all assertions at each start: 13 s each.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-again test-all test-thorough test-torch test-extras test-kill test-other coverage lint docs bench bench-quick bench-full clean
.NOTPARALLEL:

help:  ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 13

demo: $(VENV)/installed-demo  ## train a network on handwritten digits, draw its learning curve
	@$(RUN) examples/digits.py

test: $(VENV)/installed-test  ## what a user needs to trust the package
	$(RUN) -m pytest $(SPREAD) -m "not oracle_torch and not extras and not thorough" $(COVERED)

test-again: $(VENV)/installed-test  ## make test N times in a row (10), beside BUSY processes that do nothing but compute (0)
	@trap 'kill $$busy 2>/dev/null' EXIT; for i in $$(seq 1 $(BUSY)); do $(RUN) -c "while True: pass" & busy="$$busy $$!"; done; \
	for i in $$(seq 1 $(N)); do echo "run $$i of $(N)"; $(MAKE) test || exit 1; done

test-all: lint test-thorough test-torch test-extras test-kill test-other coverage docs  ## what make test leaves out: all pairs of settings, torch live, a second Python, coverage, lint, docs

test-torch: $(VENV)/installed-test
	@if $(RUN) -c "import torch, torchdata" 2>/dev/null || $(RUN) -m pip install --quiet torch==2.13.0 torchdata==0.11.0; then \
	    $(RUN) -m pytest -m oracle_torch $(COVERED); \
	else \
	    echo "NOT RUN: the live comparison with torch, which could not be installed (make test compares with its recorded numbers)"; \
	fi

test-thorough: $(VENV)/installed-test  # every algorithm with every setting, and what else takes long to say little more
	$(RUN) -m pytest $(SPREAD) -m "thorough and not oracle_torch and not extras" $(COVERED)

test-extras: $(VENV)/installed-test $(VENV)/installed-trackers
	$(RUN) -m pytest -m extras $(COVERED)

test-kill: $(VENV)/installed-test  # fifty kills at random, where make test has eight
	DOWNHILL2_KILLS=50 $(RUN) -m pytest tests/test_kill.py

# Python 3.11 ends at PyTensor 3.0; the newest PyTensor 3 needs 3.12. Whichever make test ran on, this is the other.
test-other: $(VENV)/installed-test
	@if $(RUN) -c "import sys; sys.exit(sys.version_info >= (3, 12))"; then wanted="v >= (3, 12)"; else wanted="v == (3, 11)"; fi; \
	if python=$$(.ci/find-python "$$wanted"); then \
	    $(MAKE) test test-extras VENV=.venv-other PYTHON="$$python"; \
	else \
	    echo "NOT RUN: the tests on a second Python, none found with $$wanted"; \
	fi

# Where one Python alone is found, what needs the other (PyMC, say) is not run.
LEAST = $(if $(wildcard .cache/coverage/.venv-other),99,98)

coverage: $(VENV)/installed-test  ## with COVERAGE=1: statements and branches of the package that no test on any Python ran
	@if test -n "$(COVERAGE)"; then \
	    $(RUN) -m coverage combine --quiet --keep --data-file=.cache/coverage/all .cache/coverage/.venv* && \
	    $(RUN) -m coverage report --data-file=.cache/coverage/all --skip-covered --show-missing --precision=2 --fail-under=$(LEAST); \
	else \
	    echo "NOT RUN: coverage, which needs the notes of make test and make test-all, both with COVERAGE=1"; \
	fi

lint: $(VENV)/installed-lint  ## style and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

docs: $(VENV)/installed-docs  ## the documentation, in docs/_build/index.html: draws what each algorithm does, runs the examples (DRAFT=1: does not)
	$(RUN) -m sphinx --fail-on-warning --keep-going --quiet $(if $(DRAFT),-t draft) -b html docs docs/_build

bench: $(VENV)/installed-test  ## time downhill2 beside torch and optax, where they are installed: 20 minutes
	$(RUN) -m benchmarks

bench-quick: $(VENV)/installed-test  ## the same, roughly, in 3 minutes
	$(RUN) -m benchmarks --quick

bench-full: $(VENV)/installed-test  ## the same with the rows that take very long
	$(RUN) -m benchmarks --full

clean:  ## remove environments and caches
	rm -rf .venv .venv-other .cache .hypothesis docs/_build docs/algorithms docs/gallery *.egg-info

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer found; install one, or name it: make PYTHON=/path/to/python" >&2; exit 1; }
ifdef UV
	@uv venv --quiet --seed --clear --python "$(PYTHON)" $(VENV)
else
	@"$(PYTHON)" -c "import ensurepip" 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments; install its venv package (Debian, Ubuntu: apt-get install python3-venv) or uv" >&2; exit 1; }
	@"$(PYTHON)" -m venv --clear $(VENV)
endif

# One stamp for each set of extras: set-up runs once, and again when what the package needs has changed.
$(VENV)/installed-%: setup.cfg pyproject.toml | $(VENV)/bin/python
	@echo "setting up $(VENV) for $*: a minute, once"
ifdef UV
	@uv pip install --quiet --python $(RUN) --editable ".[$*]"
else
	@$(RUN) -m pip install --quiet --disable-pip-version-check --editable ".[$*]"
endif
	@touch $@
