# Everything a newcomer needs stands here; `make run` and `make test` ask for nothing but python3 (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test check format hardening clients bench conformance hooks clean

run: $(VENV)/.runs  ## start the gateway on 127.0.0.1:8080 (HOST=… PORT=… to move it)
	@exec $(BIN)/dragoman serve

test: $(VENV)/.tests  ## everything that needs nothing but the package index
	$(BIN)/python -m pytest -q -n 4

check: $(VENV)/.tests  ## style, types, import contracts, documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q tests/docs tests/architecture

format: $(VENV)/.tests
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

hardening: $(VENV)/.tests  ## hostile clients, upstreams and web pages: what holds, and its figures
	HARDENING_CASES=100000 $(BIN)/python -m pytest -q tests/hardening

clients: $(VENV)/.tests  ## the genuine programs against this gateway
	$(BIN)/python -m pytest -q -rs tests/clients

bench: $(VENV)/.runs  ## CPU, memory and delay beside nginx and bare Node
	$(BIN)/python bench/bench.py

conformance: $(VENV)/.tests  ## the black-box suite beside the checkout
	$(BIN)/python tests/conformance.py --check

hooks: $(VENV)/.tests  ## format and lint before each commit, types before each push
	$(BIN)/python -m pip install -q "pre-commit>=4"
	$(BIN)/pre-commit install --hook-type pre-commit --hook-type pre-push

clean:
	rm -rf $(VENV) .cache build *.egg-info .mypy_cache .ruff_cache .pytest_cache

# The stamps keep a second `make` from installing again; a changed list of packages makes them stale.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Dragoman needs Python 3.11 or newer; say which one with: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runs: requirements.txt setup.cfg setup.py | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt --use-pep517 -e .
	@touch $@

$(VENV)/.tests: $(VENV)/.runs
	$(BIN)/python -m pip install -q --disable-pip-version-check -c requirements.txt --use-pep517 -e '.[dev]'
	@touch $@
