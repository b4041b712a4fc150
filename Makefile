# One target for each habit of the project; `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

VENV ?= .venv
PYTHON ?= python3
PORT ?= 30000
CONFIG ?= demo/cascade.yaml
ARGS ?=

python := $(VENV)/bin/python
install := $(python) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
sources := cascadia_sglang kernels patches tests bench demo docs

# What the environment holds is named by what was asked of it: the pins, and pyproject.toml down to
# the settings of the tools.
key := $(shell sed '/^\[tool\.ruff\]/,$$d' pyproject.toml | cat - constraints.txt | sha256sum | cut -c 1-16)
installed := $(VENV)/.installed-$(key)
# A rival with pins of its own, in an environment of its own.
litellm_home := $(VENV)/.litellm-1.108.7
litellm := $(litellm_home)/bin/litellm
# What changes modules to see whether tests notice, in an environment of its own too.
cosmic_ray_home := $(VENV)/.cosmic-ray-8.7.0
cosmic_ray := $(cosmic_ray_home)/bin/cosmic-ray
# A bare CUDA machine without its device, as the dry run of gpu-check imitates it.
PYTHON312 ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.12.*/bin/python3.12) python3.12)
dry_machine := .gpu-check-dry/machine

.PHONY: help env key lock docs serve test test-units test-servers lanes lane-servers lane-units \
	test-slow test-slow-units test-slow-tour test-slow-a-to-p test-slow-q-to-z test-slow-alone \
	long-chat test-sglang-server test-sglang test-release check type test-gpu fuzz fuzz-readers soak mutants bench \
	gpu-check gpu-check-pack gpu-check-dry \
	litellm bench-rivals bench-rivals-smoke bench-real bench-smoke bench-gpu

help:  ## this list
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / {printf "make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(installed)  ## create the environment in VENV (.venv), or leave it where it is complete
	@# The editable install names one checkout. An environment that others use too is pointed here.
	@if [ "$$(cat $(VENV)/.checkout 2> /dev/null)" != "$(CURDIR)" ]; then \
		$(install) --no-index --no-deps --no-build-isolation --editable . ; \
		echo "$(CURDIR)" > $(VENV)/.checkout; \
	fi

$(installed): | pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("PYTHON must be Python 3.11 or newer")'
	@$(python) -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV); the first time about 11 GB and some minutes"
	@rm -f $(VENV)/.installed-* $(VENV)/.checkout
	$(install) setuptools
	$(install) --no-build-isolation --editable '.[dev,bench,calibrate]'
	@echo "$(CURDIR)" > $(VENV)/.checkout
	@touch $@

key:
	@echo $(key)

lock: env  ## write constraints.txt from the environment
	@sed -n '/^#/p' constraints.txt > constraints.txt.new
	@$(python) -m pip freeze --all --exclude-editable | grep -v '^pip==' >> constraints.txt.new
	@mv constraints.txt.new constraints.txt

docs: env  ## write the documents that come from code, then build the site of docs/ into site/
	$(python) -m cascadia_patches.catalogue patches/README.md
	$(python) -m cascadia_sglang.schemas.write
	$(python) -m docs.generate
	$(python) -m bench table bench/README.md
	$(python) -m mkdocs build --strict

# The demo's models lie in the repository; nothing is asked of a model hub.
serve: export HF_HUB_OFFLINE ?= $(if $(filter demo/% bench/ladder/%,$(CONFIG)),1)
serve: env  ## serve a cascade in the foreground (PORT=30000, CONFIG=cascade.yaml, ARGS="--flag")
	@exec $(python) -m sglang.launch_server --plugin cascadia --cascade-config $(CONFIG) --port $(PORT) $(ARGS)

test: lanes  ## the tests that need no GPU, without the slow ones

# Two lanes at the same time: what starts servers, and what needs none. Two of the larger servers at
# once would take more memory than 24 GB. A lane computes with one thread, and each line of its output
# begins with its name. What writes the name outlives an interrupt, for pytest still writes while it
# stops its servers.
SERVERS = test-servers
UNITS = test-units
lane = for target in $(2); do $(MAKE) --no-print-directory $$target; done 2>&1 \
	| (trap '' INT TERM; sed --unbuffered 's/^/$(1): /')

lanes: export OMP_NUM_THREADS = 1
lanes: env
	@$(MAKE) --no-print-directory --jobs 2 lane-servers lane-units

lane-servers:
	+@$(call lane,servers,$(SERVERS))

lane-units:
	+@$(call lane,units,$(UNITS))

test-units: env
	$(python) -m pytest -m "not gpu and not slow" --ignore tests/system

test-servers: env
	$(python) -m pytest -m "not slow" tests/system

test-slow: test-slow-units test-slow-tour test-slow-a-to-p test-slow-q-to-z test-slow-alone  ## the slow tests that need no GPU

test-slow-units: env
	$(python) -m pytest -m "slow and not gpu" --ignore tests/system

# One server of three tiers: small enough for a lane beside another server.
test-slow-tour: env
	$(python) -m pytest -m "slow and not alone" tests/system/client_tour

# The other slow tests of the server in two halves of about the same time.
test-slow-a-to-p: env
	$(python) -m pytest -m "slow and not alone" tests/system --ignore tests/system/client_tour \
		--ignore-glob 'tests/system/test_[q-z]*'

test-slow-q-to-z: env
	$(python) -m pytest -m "slow and not alone" tests/system/test_[q-z]*.py

test-slow-alone: env
	$(python) -m pytest -m "alone and not long" $$(grep -rl --include='test_*.py' 'mark\.alone' tests/system)

long-chat: env  ## what a chat of 100,000 tokens holds the event loop for (5 minutes, nothing beside it)
	$(python) -m pytest -s -m long tests/system/test_long_chat.py

test-sglang-server: env  ## SGLang's own server tests on a cascade (SMALL=folder LARGE=folder TESTS=paths)
	$(python) -m tests.sglang_server.run --small $(SMALL) --large $(LARGE) $(ARGS) $(TESTS)

test-sglang: env  ## SGLang's releases have what is asked of them (VERSIONS="0.5.22 0.5.23")
	SGLANG_VERSIONS="$(VERSIONS)" $(python) -m pytest tests/sglang_releases

# The environment keeps its own SGLang: the other one stands before it in the path.
test-release: env  ## the tests of the server on another SGLang release (VERSION=0.5.22 TESTS=paths)
	PYTHONPATH=$$($(python) -m tests.sglang_releases.wheels $(VERSION)) \
		$(python) -m pytest -m "not slow" $(or $(TESTS),tests/system)

check: env  ## lint, format and plain language
	$(python) -m ruff check $(sources)
	$(python) -m ruff format --check $(sources)
	$(python) -m tests.repo.plain_language

type: env  ## strict types of the three packages
	$(python) -m mypy

# On a CUDA machine that has torch, triton and pytest; no environment is made.
test-gpu bench-gpu: export PYTHONPATH := .:kernels

test-gpu:  ## kernel tests on a CUDA device, with PYTHON as it is
	$(PYTHON) -c 'import torch, sys; torch.cuda.is_available() or sys.exit("torch sees no CUDA device")'
	$(PYTHON) -m pytest -c /dev/null --rootdir . -p no:cacheprovider \
		-o markers="gpu: needs a CUDA device"$$'\n'"slow: takes long" --import-mode=importlib -m gpu \
		tests/kernels

bench-gpu: test-gpu  ## kernel bench on a CUDA device, after its tests; results go to bench/results
	$(PYTHON) -m bench run kernel.run -- $(ARGS)

# On a bare CUDA machine, with what gpu-check-pack has built here; nothing is asked of a network.
gpu-check: export PYTHONPATH := .:kernels
gpu-check:  ## all that a CUDA device can show, within 8 minutes (STAGES=names, OUT=folder)
	@$(PYTHON) -m bench.gpu_check $(ARGS)

gpu-check-pack:  ## build .gpu, which takes SGLang to a machine without it (under 40 MB)
	@PYTHONPATH=. $(PYTHON) -m bench.gpu_check.bare_machine.pack

.gpu/site.tar.xz: bench/gpu_check/bare_machine/carried.txt bench/gpu_check/bare_machine/pack.py constraints.txt
	@$(MAKE) --no-print-directory gpu-check-pack

$(dry_machine)/.installed: bench/gpu_check/bare_machine/machine.txt
	@$(PYTHON312) -c 'import sys; sys.version_info[:2] == (3, 12) or sys.exit("PYTHON312 must be Python 3.12")'
	@echo "installing into $(dry_machine); about 5 GB and some minutes"
	@$(PYTHON312) -m venv $(dry_machine)
	@$(dry_machine)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

gpu-check-dry: export PYTHONPATH := .:kernels
gpu-check-dry: .gpu/site.tar.xz $(dry_machine)/.installed  ## the same without a device, at tiny sizes
	@$(dry_machine)/bin/python -m pytest -c /dev/null --rootdir . -p no:cacheprovider \
		--noconftest --import-mode=importlib -q tests/unit/gpu_check/test_runner.py
	@$(dry_machine)/bin/python -m bench.gpu_check --dry $(ARGS)

bench: env litellm  ## the CPU benches; results go to bench/results
	$(python) -m bench run --all --litellm $(litellm)

fuzz: env  ## 20,000 odd request bodies to the demo; adds rows to bench/results
	$(python) -m bench run router.fuzz -- $(ARGS)

$(cosmic_ray): | $(installed)
	$(PYTHON) -m venv $(cosmic_ray_home)
	$(cosmic_ray_home)/bin/python -m pip install --quiet --disable-pip-version-check 'cosmic-ray==8.7.0'

mutants: env $(cosmic_ray)  ## change the modules that decide, and count the changes that tests notice
	$(python) -m tests.mutants.run --tool $(cosmic_ray) $(ARGS)

fuzz-readers: env  ## odd files and admin calls for 30 minutes (ARGS="--minutes 5")
	$(python) -m tests.unit.fuzz.long $(ARGS)

soak: env  ## a piece of the long soak: 20,000 requests, 40 faults; adds to bench/results
	$(python) -m bench run soak.run -- $(ARGS)

$(litellm): | $(installed)
	$(PYTHON) -m venv $(litellm_home)
	$(litellm_home)/bin/python -m pip install --quiet --disable-pip-version-check 'litellm[proxy]==1.108.7'

# Where it does not install, the benches go without it.
litellm: env
	-@$(MAKE) --no-print-directory $(litellm)

bench-rivals: env litellm  ## the cascade beside what people use in its place
	$(python) -m bench run rivals.compare rivals.longer rivals.parts rivals.picture --litellm $(litellm)

bench-rivals-smoke: env  ## the same with a few prompts; writes nothing
	$(python) -m bench run rivals.compare --smoke

bench-real: env litellm  ## two real models of one tokenizer (SMALL=folder LARGE=folder)
	$(python) -m bench run real --small $(SMALL) --large $(LARGE) --litellm $(litellm)

bench-smoke: env  ## every CPU bench once, briefly; writes nothing
	$(python) -m bench run --smoke
