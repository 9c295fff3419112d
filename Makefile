# Every target sets up what it needs in .venv, and does so again only when pyproject.toml changes.
# PYTHON names the interpreter the environment is made with, WORKERS the test processes; BROWSER=1 has make test install
# Debian's chromium if it is not there, for the test that looks at a report in a browser. TORCH_INDEX is the address of a package
# index to install torch and torchvision from, such as PyTorch's index of CPU wheels; the default Linux wheels bring 5 GB of CUDA libraries.
PYTHON ?= python3
WORKERS ?= 2
MINUTES ?= 60
SEED ?= 0

BIN := .venv/bin
CORE := .venv/.core-installed
DEV := .venv/.dev-installed
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test browser check format docs bench build faults clean

help: ## This list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(CORE) ## Train on built-in images and print a verdict, in under a minute
	@$(BIN)/understudy demo

test: check $(if $(BROWSER),browser) ## Lint, types and the whole test suite but the slow runs
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest -q -n $(WORKERS) --dist worksteal

browser:
	command -v chromium >/dev/null || { apt-get update -q && apt-get install -y -q chromium; }

check: $(DEV) ## Lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DEV) ## Format the code and fix what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DEV) ## Write the page of every method, and build the site in build/site
	$(BIN)/python docs/make_methods.py
	$(BIN)/python docs/make_site.py

bench: $(DEV) ## List the scripts behind published figures; run one with NAME=... ARGS="..."
ifdef NAME
	$(BIN)/python benchmarks/$(NAME).py $(ARGS)
else
	@for script in $(filter-out benchmarks/common.py benchmarks/runs.py,$(wildcard benchmarks/*.py)); do \
		printf '%-22s%s\n' "$$(basename $$script .py)" "$$(head -1 $$script | tr -d '"')"; done
	@echo 'Run one: make bench NAME=digits_reference ARGS="..."'
endif

build: $(DEV) ## Build the wheel and the sdist in dist and check them
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*

faults: $(DEV) ## Attack the project for MINUTES (60) with SEED (0); continue from benchmarks/faults.json
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE nice -n 10 $(BIN)/python -m tests.faults.run --minutes $(MINUTES) --seed $(SEED) $(ARGS)

clean: ## Remove the environment and every cache
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist src/*.egg-info

$(CORE): pyproject.toml
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(if $(TORCH_INDEX),$(PIP) --index-url '$(TORCH_INDEX)' torch)
	$(PIP) --editable .
	@touch $@

$(DEV): pyproject.toml
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(if $(TORCH_INDEX),$(PIP) --index-url '$(TORCH_INDEX)' torch torchvision)
	$(PIP) --editable '.[dev]'
	@touch $(CORE) $@
