# One line per target: `make help`. Everything is idempotent; a second run does only what changed.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install run cluster test fresh faults lint types check bench migrate migration docs site lock clean

VENV ?= .venv
BIN := $(VENV)/bin
# Extra arguments for pytest or the benchmark: make test ARGS="-k typing"
ARGS ?=
# Tests wait more than they compute. One file's tests share a server, and so a worker; 0 runs all in one process.
WORKERS ?= 4
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
# LOCKED=1: what `make run` installs is exactly what requirements.lock names, by its hashes (as the image has it).
LOCKED ?=

# For every Python that setup.cfg names and every platform at once; no registry is written into the file.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes \
	--no-annotate --custom-compile-command 'make lock'

# What is built already is left as it is.
SITE := $(BIN)/python scripts/build_site.py --if-needed

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.dev ## Create the virtual environment with everything that development needs

run: $(VENV)/.runtime ## Install what is needed, migrate, and serve on http://127.0.0.1:8003
	@$(BIN)/python scripts/fetch_client.py
	@$(BIN)/python -m scripts.build_chat
	@$(SITE) || echo 'The documentation was not built; everything else works.'
	@exec $(BIN)/python scripts/run.py

cluster: $(VENV)/.dev services ## Run three nodes, Redis, PostgreSQL and nginx on http://127.0.0.1:8080
	@$(BIN)/python scripts/fetch_client.py
	@$(BIN)/python -m scripts.build_chat
	@$(SITE)
	@exec $(BIN)/python scripts/cluster.py

test: $(VENV)/.dev services $(VENV)/stores/.stamp tests/js/node_modules/.stamp ## Run the tests, with the servers and the browser they need
	@$(SITE)
	@# With what is compiled kept: asserts are compiled anew by every worker otherwise.
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

fresh: ## On bare Debian 12 and 13, made by debootstrap: a newcomer's path, make run and make test (root; an hour)
	@ARGS="$(ARGS)" scripts/fresh

faults: $(VENV)/.dev services $(VENV)/models/.stamp tests/js/node_modules/.stamp ## Run the long fault runs; their table comes at the end
	$(BIN)/python -m pytest -m faults tests/faults $(ARGS)

lint: $(VENV)/.dev ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## Check types, strictly
	$(BIN)/mypy

check: lint types ## Lint, types, the direction of imports, generated documents up to date
	PYTHONPATH=clients/python $(BIN)/lint-imports --no-logo
	$(BIN)/python scripts/docs.py --check

bench: $(VENV)/.dev services tests/js/node_modules/.stamp ## Measure: throughput, latency, memory, side by side with others
	$(BIN)/python -m bench $(ARGS)

migrate: $(VENV)/.runtime ## Bring the database of DATABASE_URL to the newest schema
	$(BIN)/python -m server migrate

migration: $(VENV)/.dev ## Write a new migration from the tables: make migration m="what changes"
	@test -n "$(m)" || { echo 'Say what changes: make migration m="add a column"' >&2; exit 2; }
	PYTHONPATH=. $(BIN)/python scripts/migration.py "$(m)"

docs: $(VENV)/.dev services tests/js/node_modules/.stamp ## Write the generated documents again, and take the pictures
	$(BIN)/python scripts/docs.py

site: $(VENV)/.runtime ## Build the documentation, which is served at /docs/
	$(BIN)/python scripts/build_site.py --strict

lock: $(BIN)/python ## Write the lock files again, with the newest releases that setup.cfg takes
	$(PIP) uv
	$(LOCK) setup.cfg --extra s3 --extra heic --extra mcp --output-file requirements.lock
	sed -n '/^docs =/,/^[a-z0-9]* =$$/s/^    //p' setup.cfg | $(LOCK) - -c requirements.lock --output-file requirements-docs.lock
	sed -n 's/^requires = \["\(.*\)"\]/\1/p' pyproject.toml | $(LOCK) - --output-file requirements-build.lock

clean: ## Remove caches and build output (keeps data/ and the virtual environment)
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -not -path '*/node_modules/*' -prune -exec rm -rf {} +

.PHONY: services
services:
	@scripts/ensure_services

$(BIN)/python:
	@scripts/ensure_venv $(VENV)

# The stamps are older than setup.cfg whenever the dependencies may have changed.
$(VENV)/.dev: setup.cfg pyproject.toml | $(BIN)/python
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.runtime

$(VENV)/.runtime: setup.cfg requirements.lock requirements-build.lock requirements-docs.lock | $(BIN)/python
ifdef LOCKED
	$(PIP) --require-hashes -r requirements.lock -r requirements-build.lock -r requirements-docs.lock
	$(PIP) --no-deps --no-build-isolation -e .
else
	$(PIP) -e '.[s3,heic,mcp,docs]'
endif
	@touch $@

$(VENV)/stores/.stamp: tests/stores.lock | $(VENV)/.dev
	@scripts/fetch_stores $(VENV)

$(VENV)/models/.stamp: tests/models.txt | $(VENV)/.dev
	@scripts/fetch_models $(VENV)

tests/js/node_modules/.stamp: tests/js/package.json tests/js/package-lock.json
	cd tests/js && npm ci --no-fund --no-audit --loglevel=error
	@touch $@
