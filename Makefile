# Everything a user types. Each target sets up .venv first; a second run starts at once.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

export DAGSTER_HOME := $(CURDIR)
# Threads that wait sleep instead of spinning: on a busy machine spinning costs many times the work itself.
export OMP_WAIT_POLICY ?= PASSIVE

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[pipeline,postgres,dev,docs]'
	@touch $(STAMP)

setup: $(STAMP) ## Create .venv and install

DATASET ?= synthetic
RECIPE ?= enet
ROOT ?=
# In the environment they reach the command whatever characters they hold.
export DATASET RECIPE ROOT
demo: $(STAMP) ## Lane data to an evaluated, registered model: make demo [DATASET=synthetic] [RECIPE=enet] [ROOT=folder]
	@$(BIN)/python demo.py --dataset "$$DATASET" --recipe "$$RECIPE" --root "$$ROOT"

PORT ?= 3000
MLFLOW_PORT ?= 5000
ui: $(STAMP) ## Dagster's and MLflow's pages: make ui [PORT=3000] [MLFLOW_PORT=5000]
	@$(BIN)/python ui.py --port '$(PORT)' --mlflow-port '$(MLFLOW_PORT)'

APP_PORT ?= 8501
app: $(STAMP) ## A page to try frames and clips with any model: make app [APP_PORT=8501]
	@$(BIN)/python -c 'import streamlit' 2>/dev/null || \
		$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[app]'
	@$(BIN)/python app.py --port '$(APP_PORT)'

test: $(STAMP) ## Run the tests, two at a time
	$(BIN)/pytest --numprocesses 2 --dist loadfile

test-nights: $(STAMP) ## Nights of a small project with real services: new frames, retraining, promotion; minutes
	$(BIN)/pytest -m nights

test-cluster: $(STAMP) ## The chain on a Ray cluster of two nodes and a store, all on this machine; minutes; needs `pip install ray[train]`
	$(BIN)/pytest -m cluster -rs

test-ui: $(STAMP) ## Walk through Dagster's and MLflow's pages in a browser (needs Debian's chromium)
	$(BIN)/pytest tests_ui

tour: $(STAMP) ## Take the pictures of docs/tour.md again; about twenty minutes the first time
	$(BIN)/pytest tests_ui --tour .lgad/tour

lint: $(STAMP) ## Lint, check types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

docs: $(STAMP) ## Build the docs site into build/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

wheel: $(STAMP) ## Build the wheel, install it into a fresh environment and try it there
	$(BIN)/python .ci/wheel.py

.PHONY: help setup demo ui app test test-nights test-cluster test-ui tour lint docs wheel
