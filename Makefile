# `make study` runs the main job, `make test` runs the tests; both set up .venv first.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN = .venv/bin

.PHONY: study test test-all test-fire check lint types imports docs venv dev peers

study: venv
	$(BIN)/steppe run neural-shattering

test: dev lint types imports
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

test-all: dev
	$(BIN)/python -m pytest -m "not gpu and not fire"

test-fire: dev
	$(BIN)/python -m pytest -m fire

check: test

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

imports:
	$(BIN)/lint-imports --no-cache

docs: dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group docs
	$(BIN)/python -m sphinx -W -b html docs docs/_build/html

venv:
	@test -n "$(PYTHON)" || { echo "steppe needs Python 3.11 or newer; found none. Install one, or: make PYTHON=/path/to/python study"; exit 1; }
	@$(PYTHON) tools/bootstrap.py run

dev:
	@test -n "$(PYTHON)" || { echo "steppe needs Python 3.11 or newer; found none. Install one, or: make PYTHON=/path/to/python test"; exit 1; }
	@$(PYTHON) tools/bootstrap.py dev

peers: dev # what steppe is compared with, in an environment of its own
	@$(PYTHON) tools/peers.py
