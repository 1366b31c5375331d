# Needs Python 3.11 or later and make; everything else goes into .venv.
# Another interpreter: make PYTHON=/path/to/python test

.DEFAULT_GOAL := help

# Each candidate is run, not only looked up: a shim may exist for a version that does not.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)

VENV  := .venv
BIN   := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test fast lint fuzz lock test-latest bench bench-peers wheel clean

help: ## print this list
	@awk -F ':.*## ' '/^[-.a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Made anew whenever what it is made from changes. The stamp is written last, so that an
# install that failed half way is not taken for one that succeeded.
LOCKS := requirements.lock requirements-torch.lock requirements-cuda.lock
INSTALL := $(BIN)/python -m pip install --quiet --no-deps
$(READY): pyproject.toml $(LOCKS)
	@test -n "$(PYTHON)" || { echo "mapcc needs Python 3.11 or later: none found" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --require-hashes -r requirements.lock
	@# The build that pip prefers, and then whether its hash is known. A CUDA build asks for more.
	$(BIN)/python -m pip download --quiet --no-deps --dest .cache/torch -c constraints.txt torch
	$(INSTALL) --require-hashes --no-index --find-links .cache/torch -r requirements-torch.lock
	@if $(BIN)/python -c 'from importlib.metadata import requires; exit("nvidia" not in str(requires("torch")))'; then \
		set -x; $(INSTALL) --require-hashes -r requirements-cuda.lock; fi
	$(INSTALL) --no-index --no-build-isolation -e .
	$(BIN)/python -m pip check
	@touch $@

.venv: $(READY) ## set up the virtual environment

demo: $(READY) ## convert real weights, step by step, and compare the two networks
	$(BIN)/python docs/demo/demo.py

test: lint ## everything that CI checks
	HYPOTHESIS_PROFILE=$${HYPOTHESIS_PROFILE:-ci} $(BIN)/python -m pytest -n auto --maxprocesses 8

fast: $(READY) ## only the tests that take no time and no network
	$(BIN)/python -m pytest -n auto --maxprocesses 8 -m 'not slow and not oracle and not network'

# Of each reader, in a process of little memory; MAPCC_FUZZ=nightly tries more.
fuzz: $(READY) ## damaged inputs for each reader, until one escapes
	$(BIN)/python -m tests.fuzz $(ARGS)

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock: ## renew the lock files, to the newest that pyproject.toml and constraints.txt allow
	$(PYTHON) -m venv .cache/lock
	.cache/lock/bin/python -m pip install --quiet uv==0.13.9
	.cache/lock/bin/python .ci/lock.py

# Everything but torch, whose newest build may be gigabytes: make test-latest TORCH=torch
TORCH := torch==2.13.0
LATEST := .cache/latest
test-latest: ## everything that CI checks, against the newest of all packages; says which ones moved
	$(PYTHON) -m venv --clear $(LATEST)
	$(LATEST)/bin/python -m pip install --quiet '$(TORCH)' -e '.[test]'
	$(LATEST)/bin/python .ci/moved.py
	HYPOTHESIS_PROFILE=ci $(LATEST)/bin/python -m pytest -n auto --maxprocesses 8; \
		ended=$$?; $(LATEST)/bin/python .ci/moved.py; exit $$ended

bench: $(READY) ## the benchmarks, half an hour and more; e.g. ARGS='--only rename --peers'
	$(BIN)/python -m benchmarks $(ARGS)

# What mapcc is compared with, in an environment of its own.
PEERS := .cache/bench-peers
bench-peers: benchmarks/peers/requirements.txt constraints.txt ## set up transformers and mergekit for them
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet -c constraints.txt -r benchmarks/peers/requirements.txt

wheel: $(READY) ## dist/: the source archive, and the wheel built from it
	$(BIN)/python -m build --no-isolation

clean: ## remove what was built, the caches and the demo's output; no other conversion
	rm -rf dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis converted_weights/minilm
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
