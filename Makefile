# make demo    compare every family on the digits that come with the package, five minutes in all
# make test    what a change must pass (one test process a core; the slowest ten are printed)
# make test-all, make lint, make bench NAME=vae

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SHARE  ?= 0.23
DATA   ?= digits
CODE   := src tests benchmarks scripts examples

.PHONY: demo test test-all lint bench clean

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Trilemma needs Python 3.11 or newer; name one with make PYTHON=/path/to/python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/trilemma compare --data $(DATA) --minutes $(SHARE) --samples 1000

test: $(VENV)/.installed-dev
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses auto --dist loadfile --durations 10

test-all: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses auto --dist loadfile -m "slow or not slow"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/pyright

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks $(NAME)

clean:
	rm -rf $(VENV) .venv-bench .pytest_cache .ruff_cache .hypothesis
