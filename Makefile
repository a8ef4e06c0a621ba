# Two commands on a bare machine with Python 3.11+, pip and make: `make quickstart` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
RECIPE ?= jobs/recipes/quickstart.yaml
# A file of tests runs in one process, two files at a time: most tests use one core.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: quickstart test test-all check format serve docs manifests bench-report clean

# `installed` holds what a user runs, `developing` also what tests and checks.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "torch==2.13.*"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[all]"
	touch $@

$(VENV)/developing: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

quickstart: $(VENV)/installed
	$(BIN)/polyglossa run jobs/recipes/quickstart.yaml

serve: $(VENV)/installed
	$(BIN)/python jobs/serve.py $(RECIPE)

test: $(VENV)/developing
	$(PYTEST)

# Slow tests kill machines and start clusters of their own: an hour more.
test-all: $(VENV)/developing
	$(PYTEST)
	$(PYTEST) -m slow

check: $(VENV)/developing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=platform $(BIN)/lint-imports
	$(BIN)/polyglossa cluster render --check
	$(BIN)/polyglossa docs --check
	$(BIN)/python jobs/bench/report.py --check

format: $(VENV)/developing
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/installed
	$(BIN)/polyglossa docs

manifests: $(VENV)/installed
	$(BIN)/polyglossa cluster render

bench-report: $(VENV)/developing
	$(BIN)/python jobs/bench/report.py

# A benchmark's last line is one JSON object; it is kept with processor, date and commit, and shown in jobs/bench/README.md.
bench-%: SHELL := /bin/bash -o pipefail
bench-%: $(VENV)/developing
	mkdir -p runs/bench
	$(BIN)/python $(or $(wildcard jobs/bench/studies/$*.py),jobs/bench/$*.py) | tee runs/bench/$*.txt
	$(BIN)/python jobs/bench/report.py --save $* runs/bench/$*.txt

clean:
	rm -rf $(VENV) runs
