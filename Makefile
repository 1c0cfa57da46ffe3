# make demo · make test · make test-all · make lint · make bench: each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test test-all lint format bench clean
.DEFAULT_GOAL := help

help:
	@echo "make demo      small real run: videos, index, two trainings, evaluation (about 10 minutes)"
	@echo "make test      the tests (about 12 minutes); make test-all adds the slow ones"
	@echo "make lint      ruff and mypy; make format rewrites"
	@echo "make bench     the benchmark: a table and bench.json"

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python >= 3.11 is needed: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $(READY)

demo: $(READY)
	$(BIN)/adassl demo

test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m 'not slow'

test-all: $(READY)
	@$(BIN)/python -m tests.browser > /dev/null  # says how to install a Chromium if there is none
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/python -m tests.benchmarks

clean:
	rm -rf $(VENV) demo bench .mypy_cache .ruff_cache .pytest_cache
