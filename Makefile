# Every target makes its own .venv from a Python >= 3.11; nothing else is needed on Linux.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test check lab bench nightly clean help

help:
	@echo "make demo    run the tour headless, print what was released, verify it"
	@echo "make lab     JupyterLab on the tour"
	@echo "make test    everything CI runs: linters, types, import contracts, tests"
	@echo "make check   linters, types and import contracts only"
	@echo "make bench   latency, start-up, engine, ledger, memory; writes build/bench.json"
	@echo "make nightly the long versions of the tests"

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Cloister needs Python 3.11 or newer (set PYTHON=...)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Cloister into $(VENV) (about a minute, once)"
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -e '.[all]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/cloister run notebooks/01-tour.ipynb --output build/01-tour.ipynb --allow-simulated
	@$(BIN)/cloister verify build/01-tour.ipynb --allow-simulated --allow-unknown-origin

lab: $(STAMP)
	$(BIN)/jupyter lab notebooks/01-tour.ipynb

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	$(BIN)/pytest -m "not slow"

bench: $(STAMP)
	$(BIN)/python -m benchmarks

nightly: check
	CLOISTER_FUZZ_TRIALS=50000 CLOISTER_CRASH_SCHEDULES=1000 $(BIN)/pytest -m "slow or not slow" --timeout 7200

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
