# Each target works on a fresh machine with Python 3.11; what is set up already is not set up again.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
MODEL  ?=
OUT    ?= benchmarks/results/demo

.PHONY: .venv demo test lint bench docs clean

.venv: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 or newer is needed. Install it, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "[1/3] making $(VENV)"
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "The venv module is missing. On Debian: apt-get install python3-venv"; exit 1; }
	@echo "[2/3] installing the pinned dependencies (a minute or two)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock || \
	  { echo "pip could not install requirements.lock: is the package index reachable (pip config list)?"; exit 1; }
	@echo "[3/3] installing aios"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . || \
	  { echo "The project itself could not be installed: see the message above."; exit 1; }
	@touch $(STAMP)

demo: .venv
	@$(BIN)/aios pull $(MODEL)
	@$(BIN)/aios bench demo $(if $(MODEL),--model $(MODEL)) --out $(OUT)

test: .venv
	@echo "running the tests (offline, some minutes)"
	@$(BIN)/python -m pytest

lint: .venv
	@echo "[1/4] style"
	@$(BIN)/ruff check .
	@echo "[2/4] format (to mend: $(BIN)/ruff format .)"
	@$(BIN)/ruff format --check .
	@echo "[3/4] types (the first run fetches the checker: it needs the network)"
	@$(BIN)/pyright
	@echo "[4/4] import rules"
	@$(BIN)/lint-imports

bench: .venv
	@for name in switch engine overhead; do \
	  $(BIN)/aios bench $$name --out benchmarks/results/$$name || exit 1; done

docs: .venv
	@$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
