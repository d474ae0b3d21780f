# Everything runs from .venv, which is made from the hashed lock on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Compiled once, not by each of the hundreds of processes that tests start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install api demo dev unit test soak load live follow slow snapshots sources keys folds large sql rebuild peer floor billion lint pictures bench page lock clean

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

install: $(READY) ## make .venv from the hashed lock

# A virtual environment does not survive being moved: the path check makes it anew.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Refold needs Python 3.11 or later; try: make PYTHON=python3.12" >&2; exit 1; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## a real rebuild on an embedded PostgreSQL and Temporal, start to finish
	$(BIN)/refold demo

dev: $(READY) ## the same stack, kept up until Ctrl-C
	$(BIN)/refold dev

unit: $(READY) ## unit tests: no servers, in about a minute
	$(BIN)/python -m pytest -n 2 tests/unit

# Five for two processors: a test waits for about as long as it works, on timeouts and on its servers.
test: $(READY) ## the whole test suite on real embedded servers
	$(BIN)/python -m pytest -m "not soak" -n 5 --dist loadfile --no-loadscope-reorder

load: $(READY) ## readers and appenders flat out while a read model is swapped
	$(BIN)/python -m bench.load

live: $(READY) ## how soon an append is visible in a live read model
	$(BIN)/python -m bench.live

follow: $(READY) ## following from zero, relative to a hand-written loop
	$(BIN)/python -m bench.follow

slow: $(READY) ## two quick projections beside one whose handler is slow
	$(BIN)/python -m bench.slow_handlers

snapshots: $(READY) ## what automatic snapshots cost a live read model, and what they take
	$(BIN)/python -m bench.snapshots

keys: $(READY) ## a key that is a function, relative to the same key as a path
	$(BIN)/python -m bench.function_keys

folds: $(READY) ## a function for a key's events at once, relative to handlers
	$(BIN)/python -m bench.at_once

large: $(READY) ## logs, keys and rows that are larger than memory
	$(BIN)/python -m bench.large

sources: $(READY) ## rebuilds from other tables of events, relative to Refold's own
	$(BIN)/python -m bench.sources

rebuild: $(READY) ## rebuilds, repairs and a script, relative to one INSERT … SELECT … GROUP BY
	$(BIN)/python -m bench.rebuild

peer: $(READY) ## following beside the ProjectionRunner of the library eventsourcing
	$(BIN)/python -m bench.peer

floor: $(READY) ## what a fold in Python cannot do without, piece by piece
	$(BIN)/python -m bench.floor

billion: $(READY) ## a billion events, simulated: what orchestration costs
	$(BIN)/python -m bench.simulation

sql: $(READY) ## rebuilds of a projection said in SQL, relative to one INSERT … SELECT
	$(BIN)/python -m bench.sql

soak: $(READY) ## long randomised runs; the seed is printed
	$(BIN)/python -m pytest -m soak -s

lint: $(READY) ## ruff, mypy --strict, and what a user's mypy sees
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file tests/types/without_plugin.ini

api: $(READY) ## docs/api/ anew from docstrings and examples
	$(BIN)/python -m tools.api_reference

pictures: $(READY) ## docs/pictures/ anew, from real pages in a headless Chromium
	$(BIN)/python -m tools.pictures

bench: $(READY) ## all benches side by side: ratios, medians of five, JSON
	$(BIN)/python -m bench.all

page: $(READY) ## docs/performance.md anew from what `make bench` has measured
	$(BIN)/python -m bench.page

lock: ## resolve requirements.lock again (needs uv)
	uv pip compile pyproject.toml --extra stack --extra web --extra redis --extra dynamodb \
		--extra cosmos --extra kurrentdb --extra encryption --group dev --universal \
		--python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --quiet -o requirements.lock

clean: ## remove .venv, caches and the embedded data
	rm -rf $(VENV) .refold .mypy_cache .ruff_cache .pytest_cache .hypothesis
