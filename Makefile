# Everything runs from here. PYTHON=python3.12 chooses another Python (3.11 to 3.13).
PYTHON ?= python3
BIN := .venv/bin
# test files run in two processes, each with a Ray of its own, the longest first;
# TESTERS=0 for one, to debug
TESTERS ?= 2

.PHONY: help demo test check lint docs clean

help:
	@echo "make demo    see it all work on synthetic drawings (no data, no network)"
	@echo "make test    the tests"
	@echo "make check   lint, layers, types, reference pages and tests: what CI runs"
	@echo "make docs    write docs/reference.md anew from the commands' --help"
	@echo "make clean   remove the environment and all caches"

demo: .venv/run
	$(BIN)/cnnjobs demo --overwrite

test: .venv/dev
	$(BIN)/python -m pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder

check: lint
	$(BIN)/python -m pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder

lint: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python docs/reference.py --check

docs: .venv/dev
	$(BIN)/python docs/reference.py

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache cnnjobs-demo

# the files say what is installed in .venv: all that runs, and beside it all that checks
.venv/run: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "$(PYTHON) is $$($(PYTHON) --version); cnnjobs needs Python 3.11 to 3.13:" \
		"make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

.venv/dev: .venv/run
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
