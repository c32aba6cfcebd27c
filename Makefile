# Everything a user or developer does, by name. `make help` lists it.
PYTHON ?= python3
PORT ?= 8080
DATA ?= .footnote
SEED ?= 1
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Where the environment forbids it, every process would compile our modules anew, and every test run its assertions.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo stop up-distributed chaos test check lint types fast-tests format model model-int8 peers servers test-servers clean

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

setup: $(STAMP) model  ## virtual environment in .venv, everything pinned; model converted once

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Footnote needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) 2>/dev/null \
	  || { rm -rf $(VENV); sh scripts/install-system-packages python3-venv && $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt 'torch==2.13.0'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@$(BIN)/python -m compileall -q -j 2 api core evaluation footnote generation ingestion migrations retrieval
	@touch $@

model: $(STAMP)
	@$(BIN)/python -P -m retrieval.embedding.convert

model-int8: $(STAMP)  ## the model in int8, for FOOTNOTE_EMBEDDER=openvino-int8:...
	@$(BIN)/python -P -m retrieval.embedding.quantize

peers: $(STAMP)  ## what `footnote bench` compares with
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[peers]'

demo: setup  ## ingest the samples, ask questions, leave the page up (PORT=, DATA=)
	@$(BIN)/python -P -m footnote.demo --data $(DATA) --port $(PORT)

stop:  ## stop the server that `make demo` left running
	@test ! -x $(BIN)/python || $(BIN)/python -P -m footnote.demo --data $(DATA) --stop

up-distributed: setup servers  ## API, workers, index, PostgreSQL and Redis as processes, until Ctrl-C (PORT=)
	@$(BIN)/python -P -m footnote.topology.distributed --data $(DATA)-distributed --port $(PORT)

chaos: setup servers  ## 400 uploads while everything is killed, stalled, wiped and filled (SEED=)
	@$(BIN)/python -m benchmarks.chaos --seed $(SEED)

servers:
	@sh scripts/install-system-packages postgresql redis-server

test-servers:
	@sh scripts/install-system-packages postgresql redis-server rabbitmq-server swift memcached chromium

test: setup test-servers  ## every test, with the servers they need
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

check: $(STAMP)  ## format, lint, types, import contracts, fast tests; two at a time
	@$(MAKE) --no-print-directory -j2 --output-sync=target lint types fast-tests

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(STAMP)
	$(BIN)/mypy

fast-tests: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m "not slow" -q $(PYTEST_ARGS)

format: $(STAMP)  ## format the code and apply safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: stop  ## remove the virtual environment and caches; never data
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
