# Everything that people do with a checkout. Needed beforehand: Python 3.11 or newer with venv, make, npm.
#
#   make demo     set everything up and run the main job on real photos
#   make test     set everything up and run the tests
#   make check    style, types, layout, and the wheel: built, compared with the tree, installed, used
#   make help     the rest

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ROOMS := automl configs datasets projects serving
CODE := $(ROOMS) tests docs setup.py
BENCHMARKS := $(patsubst tests/benchmarks/bench_%.py,bench-%,$(wildcard tests/benchmarks/bench_*.py))

.PHONY: help setup models test demo check lint types wheel docs clean distclean $(BENCHMARKS)

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20
	@for name in $(BENCHMARKS); do echo "  make $$name"; done

setup: $(INSTALLED) models  ## .venv, pinned dependencies, pretrained weights; the second time it only looks

$(INSTALLED): pyproject.toml setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: $$($(PYTHON) --version 2>&1 || echo no $(PYTHON)); Tenshot needs 3.11 or newer: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "==> making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "==> installing the pinned dependencies into $(VENV) (about 7 GB, some minutes, once)"
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[train,postgres,dev]' \
	  | { grep -v '^Requirement already satisfied' || true; }
	@touch $@

models: $(INSTALLED)
	@$(BIN)/tenshot models pull

test: setup  ## set up and run the tests (unit, contract, layout, end to end)
	$(BIN)/python -m pytest -m 'not benchmark and not wheel' --durations=15

demo: setup  ## set up and run the main job on solar cells and tree crowns
	$(BIN)/tenshot demo

check: lint types wheel  ## style, types, layout, wheel

lint: $(INSTALLED)  ## ruff and the layout tests
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/python -m pytest -q tests/layout

types: $(INSTALLED) build/types  ## mypy, strict
	$(BIN)/mypy $(addprefix build/types/tenshot/,$(ROOMS))

# mypy and editors cannot follow setup.py's mapping of folders to tenshot.*, so they get a tree of links.
build/types: $(MAKEFILE_LIST)
	@mkdir -p $@/tenshot
	@for room in $(ROOMS); do ln -sfn ../../../$$room $@/tenshot/$$room; done
	@touch $@

wheel: $(INSTALLED)  ## build the wheel through the sdist, compare it with the tree, install it without torch, use it
	$(BIN)/python -m pytest -q -m wheel tests/wheel

docs: $(INSTALLED)  ## write docs/commands.md and docs/settings.md again from the code
	$(BIN)/python docs/generate.py

$(BENCHMARKS): bench-%: setup
	$(BIN)/python tests/benchmarks/bench_$*.py

clean:  ## remove what was built, keep .venv and .tenshot
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
	find $(ROOMS) tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## also remove .venv and what the demo made
	rm -rf $(VENV) demo
