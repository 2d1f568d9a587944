# Everything runs in .venv, which is made on first use. `make demo` and `make test` need nothing but Python and a package index.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= 2
SPEECH ?=
# A range would take the newest build, with gigabytes of CUDA.
TORCH ?= 2.13.0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Set PYTHON to choose an interpreter; otherwise the first of these that is new enough.
CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.14)
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))

.DEFAULT_GOAL := help
.PHONY: help venv lint format test demo demo-train constraints clean

help: ## say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

venv: $(STAMP) ## set up .venv with everything development needs

$(STAMP): pyproject.toml constraints.txt
	@for python in $(CANDIDATES); do \
	    if "$$python" -c '$(NEW_ENOUGH)' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "vecsv needs Python 3.11 or newer; tried: $(CANDIDATES). Choose one with make PYTHON=/path/to/python3.11" >&2; \
	    exit 1; \
	fi; \
	if ! $(BIN)/python -c '$(NEW_ENOUGH)' 2>/dev/null; then \
	    echo "Making $(VENV) with $$found"; \
	    "$$found" -m venv --clear $(VENV); \
	fi
	@echo "Installing vecsv and its development tools into $(VENV)"
	@$(BIN)/python -m pip install -qq -c constraints.txt -e '.[cpu,dev]'
	@touch $@

lint: $(STAMP) ## check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy vecsv tests benchmarks

format: $(STAMP) ## format the code and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(STAMP) ## run the tests and the examples in docstrings (SPEECH=folder: on those recordings too)
	$(if $(SPEECH),VECSV_TEST_SPEECH='$(abspath $(SPEECH))' )$(BIN)/python -m pytest -q -n $(JOBS) --dist loadscope --doctest-modules vecsv tests

demo: $(STAMP) ## embed, index, calibrate, verify, search on synthetic voices (SPEECH=folder: on real ones)
	@$(BIN)/python benchmarks/demo.py $(if $(SPEECH),--speech '$(SPEECH)')

demo-train: $(STAMP) ## train a model, then embed, index, calibrate, verify with it (SPEECH=folder: on real recordings)
	@$(BIN)/python benchmarks/demo_train.py $(if $(SPEECH),--speech '$(SPEECH)')

constraints: ## pin what a fresh installation gives today (Python 3.11; PyTorch by hand: TORCH=2.13.0)
	@rm -rf build/constraints && mkdir -p build
	@python3.11 -m venv build/constraints
	@build/constraints/bin/python -m pip install -qq 'torch==$(TORCH)'
	@build/constraints/bin/python -m pip install -qq '.[cpu,dev]'
	@{ echo '# Exact versions that `make` and CI install; lower bounds stand in pyproject.toml.'; \
	   echo "# Made by \`make constraints\`: pip freeze of a fresh Python 3.11 environment with '.[cpu,dev]'."; \
	   build/constraints/bin/python -m pip freeze --exclude vecsv | sed 's/+cpu$$//'; } > build/constraints.txt
	@mv build/constraints.txt constraints.txt
	@rm -rf build/constraints

clean: ## remove all that was made here, .venv included
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find vecsv tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
