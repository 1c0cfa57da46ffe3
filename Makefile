# make demo · test · test-all · lint · docs · bench: each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_READY := $(VENV)/.ready-to-run
READY := $(VENV)/.ready
DOCS_READY := $(VENV)/.ready-for-docs
# Without compiling every module of every package: Python compiles what is imported, and keeps that
# unless this is set, with which each of Ray's many processes would compile it all again.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt

.PHONY: setup demo test test-all lint format docs bench clean
.DEFAULT_GOAL := help

help:
	@echo "make demo      small real run: videos, index, two trainings, evaluation"
	@echo "make test      the tests; make test-all adds the slow ones"
	@echo "make lint      ruff and mypy; make format rewrites"
	@echo "make docs      the documentation, into site/"
	@echo "make bench     the benchmark: a table and bench.json"

setup: $(READY)

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python >= 3.11 is needed: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUN_READY): pyproject.toml constraints.txt | $(VENV)/pyvenv.cfg
	$(INSTALL) --editable '.[pipelines]'
	touch $(RUN_READY)

$(READY): pyproject.toml constraints.txt | $(VENV)/pyvenv.cfg
	$(INSTALL) --editable '.[test]'
	touch $(RUN_READY) $(READY)

$(DOCS_READY): $(READY)
	$(INSTALL) --editable '.[docs]'
	touch $(DOCS_READY)

demo: $(RUN_READY)
	$(BIN)/adassl demo

test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup --no-loadscope-reorder \
		-m 'not slow' --durations=20

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

docs: $(DOCS_READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "site/index.html"

bench: $(READY)
	$(BIN)/python -m tests.benchmarks

clean:
	rm -rf $(VENV) demo bench site .mypy_cache .ruff_cache .pytest_cache
