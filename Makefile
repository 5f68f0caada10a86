# One verb per need. `make venv` is the set-up that every other verb does by itself.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Two set-ups, the second on top of the first: what runs, and what checks.
RUN := $(VENV)/.run
STAMP := $(VENV)/.dev
FAST := not slow and not gpu and not hardware
# Tests of one file share what they build, so a file stays with one process.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

# Small arrays gain nothing from threads, and several processes share the machine.
export OMP_NUM_THREADS ?= 1

.PHONY: venv demo test test-all format type lint wheel bench clean

venv: $(STAMP)

# The build backend comes from constraints.txt too, hence no build isolation; but what is published as
# source alone (Hydra's antlr4 runtime) is built in isolation, with a backend of its own.
$(RUN): pyproject.toml constraints.txt
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt hatchling editables antlr4-python3-runtime
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation -e ".[train]"
	touch $(RUN)

$(STAMP): $(RUN)
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation -e ".[train,dev]"
	touch $(STAMP)

demo: $(RUN)
	$(BIN)/simreal demo

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

type: $(STAMP)
	$(BIN)/mypy

test: lint type
	$(PYTEST) -m "$(FAST)"

test-all: lint type
	$(PYTEST) -m "not gpu and not hardware"

format: $(STAMP)
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

# Build the wheel, install it alone in a clean environment outside the checkout, and use it there.
wheel: $(STAMP)
	rm -rf dist build/wheel
	$(BIN)/python -m build --no-isolation --outdir dist
	"$(PYTHON)" -m venv build/wheel
	build/wheel/bin/python -m pip install --quiet -c constraints.txt dist/*.whl
	cd build && wheel/bin/simreal --help > /dev/null && wheel/bin/simreal list && wheel/bin/simreal info

# Not among them: trainings that take hours, what needs a GPU or logs, and what the scripts share.
LONG := transfer_table pretraining published_returns ppo_learning staying_up gpu identification identified_transfer
SHARED := rounds gpu_checks gpu_physics gpu_training
HEADLINES := $(filter-out $(patsubst %,benchmarks/%.py,$(LONG) $(SHARED)),$(wildcard benchmarks/*.py))

bench: $(STAMP)
	for script in $(HEADLINES); do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done
	$(BIN)/python benchmarks/rounds.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
