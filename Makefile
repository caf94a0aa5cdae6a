# make install, then: make demo | make test | make ui
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
export SIM_PLATFORM_HOME ?= $(CURDIR)/data
export DAGSTER_HOME ?= $(SIM_PLATFORM_HOME)/dagster_home

.PHONY: install demo test test-integrations check ui lock clean

install: $(VENV)/.installed  ## .venv with the locked dependencies and the package

$(VENV)/.installed: requirements.lock pyproject.toml
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sim-platform needs Python 3.11 or newer; this is " + sys.version.split()[0])'
	python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: install  ## the whole simulation on the shipped synthetic log with the embedded model
	$(BIN)/sim-platform run demo-v2

test: install  ## the whole test suite, files side by side on two cores, one thread each (WORKERS=N for more)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n $(or $(WORKERS),2) --dist loadfile --no-loadscope-reorder $(ARGS)

test-integrations: install .venv-integrations/.installed  ## against other tools in an environment of their own: the LiteLLM proxy
	SIM_PLATFORM_INTEGRATIONS=$(CURDIR)/.venv-integrations OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest sim_platform_tests/integrations $(ARGS)

.venv-integrations/.installed: requirements.integrations.lock
	python3 -m venv .venv-integrations
	.venv-integrations/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.integrations.lock
	touch $@

check: install  ## format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test

ui: install  ## Dagster UI on 127.0.0.1:3000, behind a token
	$(BIN)/sim-platform check
	mkdir -p $(DAGSTER_HOME) && cp -n data/dagster_home/dagster.yaml $(DAGSTER_HOME)/
	$(BIN)/sim-platform ui --port $(or $(PORT),3000)

lock:  ## solve pyproject.toml again and append the model packages, which come without their dependencies
	python3 -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet 'uv>=0.9'
	.venv-lock/bin/uv pip compile --quiet --python-version 3.11 --universal --extra dev --generate-hashes --no-emit-index-url --no-header --no-annotate pyproject.toml requirements.build.in --output-file requirements.lock
	.venv-lock/bin/uv pip compile --quiet --python-version 3.11 --no-deps --generate-hashes --no-emit-index-url --no-header --no-annotate requirements.models.in >> requirements.lock
	.venv-lock/bin/uv pip compile --quiet --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header --no-annotate requirements.integrations.in --output-file requirements.integrations.lock
	rm -r .venv-lock

clean:  ## results and history of the home; configuration and logs stay
	rm -rf $(SIM_PLATFORM_HOME)/*.duckdb $(SIM_PLATFORM_HOME)/*.duckdb.wal $(SIM_PLATFORM_HOME)/journal $(SIM_PLATFORM_HOME)/parts $(SIM_PLATFORM_HOME)/preregistration $(SIM_PLATFORM_HOME)/reports
	find $(DAGSTER_HOME) -mindepth 1 -not -name dagster.yaml -delete
