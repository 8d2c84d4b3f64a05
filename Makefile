# Every target first makes the environment it needs in .venv; `make` lists the targets.

PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
INSTALL := $(BIN)/python -m pip install -qq -c constraints.txt

# What `make benchmark` and `make paper` hand on; an empty variable leaves the command's own default.
BENCHMARK_OPTIONS = $(if $(DATA),--data "$(DATA)") $(if $(MODELS),--models $(MODELS)) \
	$(if $(METHODS),--methods $(METHODS)) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(TEACHER_SEEDS),--teacher-seeds $(TEACHER_SEEDS)) $(if $(JOBS),--jobs $(JOBS)) \
	$(if $(OUT),--out "$(OUT)") $(if $(ZOO),--zoo "$(ZOO)") $(if $(GPU),--gpu $(GPU)) \
	$(if $(DEV),--dev) $(if $(OWN_SEQUENCES),--own-sequences)

# What only `make benchmark` hands on.
TEACHER_OPTIONS = $(if $(TEACHER),--teacher-config "$(TEACHER)") \
	$(if $(TEACHER_MINUTES),--teacher-minutes $(TEACHER_MINUTES))

.DEFAULT_GOAL := help
.PHONY: help quickstart benchmark paper bench rehearsal torture test check lint clean dataset-given

help: ## List the targets.
	@awk -F ': .*## ' '/^[a-z]+: .*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

quickstart: $(READY) ## Close the loop on MovieLens-100K: 12 methods and the teacher, 3 seeds, a leaderboard.
	@$(BIN)/loopfm benchmark --dataset MovieLens100K_s1 --seeds 3 --models DeepFM --out runs/quickstart

benchmark: dataset-given $(READY) ## DATASET=<id> [DATA= MODELS= METHODS= SEEDS= TEACHER_SEEDS= JOBS= OUT= ZOO= TEACHER= TEACHER_MINUTES= GPU= DEV=1]: a leaderboard.
	@$(BIN)/loopfm benchmark --dataset $(DATASET) $(strip $(BENCHMARK_OPTIONS) $(TEACHER_OPTIONS))

paper: dataset-given $(READY) ## TABLE=<1..11> DATASET=<id> [DATA= MODELS= SEEDS= JOBS= OUT= ZOO= GPU= DEV=1]: a table of the paper.
	@$(BIN)/loopfm paper --table $(TABLE) --dataset $(DATASET) $(strip $(BENCHMARK_OPTIONS))

bench: $(READY) ## [SCALE=5 ONLY= REPEAT=5 KUAIRAND= STORE= OUT=]: every promised speed and size as a ratio.
	@SCALE="$(SCALE)" ONLY="$(ONLY)" REPEAT="$(REPEAT)" KUAIRAND="$(KUAIRAND)" STORE="$(STORE)" OUT="$(OUT)" \
		$(BIN)/python -m tests.bench

rehearsal: $(READY) ## [SCALE=1]: raw files of TaobaoAd's size through every stage within 16 GiB, measured.
	@$(BIN)/python -m tests.rehearsal $(if $(SCALE),--scale $(SCALE)) --out runs/rehearsal

torture: $(READY) ## [ONLY="kills fuzz"]: kills, faults, corruption, leaks, a soak; under 40 minutes, report in runs/torture.
	@$(BIN)/python -m tests.torture $(if $(ONLY),--only $(ONLY)) --out runs/torture

# A file's tests stay together: they share what its fixtures build.
test: $(READY) ## Run the whole test suite; ARGS="-k name" for a part of it.
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

check: lint ## Lint, check types, and run the fast tests.
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" $(ARGS)

lint: $(READY_DEV) ## Check style (ruff) and types (mypy).
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

clean: ## Remove the environment and caches; data/ and runs/ stay.
	@rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis build *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Checked before anything is installed.
dataset-given:
	@$(if $(DATASET),:,$(error DATASET is missing. Example: make benchmark DATASET=MovieLens100K_s1))

$(READY): setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "make: $(PYTHON) is missing or older than 3.10; name one with PYTHON=<command>" >&2; exit 1; }
	@echo "Creating $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "make: $(PYTHON) cannot make environments; install its venv module" >&2; exit 1; }
	@$(INSTALL) pip setuptools
	@echo "Installing the pinned packages into $(VENV); this takes some minutes ..."
	@$(INSTALL) torch
	@$(INSTALL) --no-build-isolation -e ".[test]"
	@touch $@

$(READY_DEV): $(READY)
	@echo "Installing ruff and mypy into $(VENV) ..."
	@$(INSTALL) --no-build-isolation -e ".[dev]"
	@touch $@
