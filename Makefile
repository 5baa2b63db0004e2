# Everything runs from here. PYTHON=python3.12 chooses another Python (3.11 to 3.13).
PYTHON ?= python3
BIN := .venv/bin
# two processes, each with its own Ray; the slowest files start first. TESTERS=0 runs one, to debug.
# One that is killed ends the run: pytest-xdist 3.8 would start another, and wait for ever at the end
TESTERS ?= 2

.PHONY: help demo test check lint docs docs-site wheel lock audit sbom clean

help:
	@echo "make demo       see everything work on synthetic drawings (no data, no network)"
	@echo "make test       run the tests"
	@echo "make check      lint, layers, types, documentation and tests: what CI runs"
	@echo "make docs       regenerate the pages generated from the code"
	@echo "make docs-site  build the documentation site into build/site"
	@echo "make wheel      build the sdist, and the wheel from it, into dist/"
	@echo "make lock       pin what the image installs, with hashes (needs uv)"
	@echo "make audit      look up known flaws of what the image installs (needs uv and the network)"
	@echo "make sbom       write dist/sbom.json, in CycloneDX (needs uv)"
	@echo "make clean      remove the environment, builds and caches"

demo: .venv/run
	$(BIN)/cnnjobs demo --overwrite

test: .venv/dev
	$(BIN)/python -m pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0

check: lint docs-site
	$(BIN)/python -m pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0

lint: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m pip check
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python docs/reference.py --check
	$(BIN)/python docs/python.py --check

docs: .venv/dev
	$(BIN)/python docs/reference.py
	$(BIN)/python docs/python.py

docs-site: .venv/dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

wheel: .venv/dev
	$(BIN)/python -m build --outdir dist

# of the versions in constraints.txt, for Python 3.11 to 3.13
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --custom-compile-command "make lock" --constraint constraints.txt \
		--extra dicom --output-file requirements.lock pyproject.toml

# strict: a package that cannot be looked up is a failure
audit:
	uvx pip-audit --strict --disable-pip --require-hashes --requirement requirements.lock

sbom:
	mkdir -p dist
	uvx --from cyclonedx-bom cyclonedx-py requirements --output-reproducible --output-file dist/sbom.json \
		requirements.lock

clean:
	rm -rf .venv build dist cnnjobs-demo
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# these files mark what is installed in .venv: what runs, and additionally what checks
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
