# make setup, make demo, make test: each is the only command needed on a fresh machine with Python 3.11 to 3.13.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
MOVED := $(shell test -e $(BIN)/pip && ! grep -qs "$(abspath $(BIN))/" $(BIN)/pip && echo yes)  # scripts name their place
WORKERS := --numprocesses auto --dist loadfile --no-loadscope-reorder
UV := $(BIN)/uv pip install --quiet --no-deps --require-hashes --python $(BIN)/python

unexport PYTHONDONTWRITEBYTECODE  # every process would compile pandas and Dagster anew: 6 s instead of 2 each

.DEFAULT_GOAL := help
.PHONY: help anew setup demo docs check test lint types test-ui lock sbom advisories image try-image clean

help: ## show this
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(BIN)/uv: requirements-uv.lock $(if $(filter yes,$(MOVED)),anew)
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "Python 3.11 to 3.13 is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(if $(filter yes,$(MOVED)),--clear) $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@touch $@

$(VENV)/.installed: $(BIN)/uv requirements.lock pyproject.toml
	$(UV) -r requirements.lock
	$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python --editable .
	@touch $@

$(VENV)/.developing: $(VENV)/.installed requirements-dev.lock requirements-apart.lock
	$(UV) -r requirements-dev.lock
	$(UV) -r requirements-apart.lock --target $(VENV)/apart
	@touch $@

anew:

setup: $(VENV)/.installed ## environment, locked dependencies, .env, pipeline.yaml, schema
	@$(BIN)/b2b setup

demo: setup ## the main job on an invented company, then the Dagster UI (PORT=3000)
	@$(BIN)/b2b demo $(if $(PORT),--port $(PORT))

docs: $(VENV)/.installed ## what is written from the code: metrics, files, sources, the schema of pipeline.yaml
	$(BIN)/python -m b2b_pipeline.metrics.docs > docs/metrics.md
	$(BIN)/python -m b2b_pipeline.files.docs > docs/files.md
	$(BIN)/python -m b2b_pipeline.testing.docs docs/sources
	$(BIN)/python -m b2b_pipeline.configuration.schema > docs/pipeline.schema.json

lint: $(VENV)/.developing ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.developing ## mypy, strict
	$(BIN)/mypy

check: lint types ## lint, types and the fast tests: under 3 minutes, for daily work
	$(BIN)/pytest -q $(WORKERS) -m "not thorough and not browser and not slow"

test: lint types ## lint, types, tests
	$(BIN)/pytest $(WORKERS)

test-ui: $(VENV)/.developing ## the Dagster UI in a real browser (an installed chromium)
	$(BIN)/pytest -m browser

lock: $(BIN)/uv ## lock the dependencies anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --group dev pyproject.toml -c requirements.lock -o requirements-dev.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-deps --group apart -o requirements-apart.lock
	echo uv | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header - -o requirements-uv.lock

sbom: $(BIN)/uv ## sbom.json: what is locked, as CycloneDX
	$(BIN)/uv tool run --quiet --from 'cyclonedx-bom==7.*' cyclonedx-py requirements requirements.lock --output-reproducible --output-file sbom.json

advisories: $(BIN)/uv ## known vulnerabilities of what is locked (asks PyPI's advisory service)
	$(BIN)/uv tool run --quiet --from 'pip-audit==2.*' pip-audit --strict --requirement requirements.lock --no-deps --disable-pip || \
	  { echo "advisories were found, or pypi.org could not be asked: the lines above say which" >&2; exit 1; }

image: ## build the container image without a Docker engine (Debian, root: buildah, debootstrap)
	docker/build-without-engine.sh

try-image: ## run the image's services against a local PostgreSQL
	docker/try-image.sh

clean: ## remove the environment and everything the pipeline stored
	rm -rf $(VENV) .b2b .env pipeline.yaml
