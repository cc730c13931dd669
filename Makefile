# mmaffnet: `make demo` and `make test` do all the set-up they need. `make help` lists the rest.
#
#   PYTHON=/path/to/env/bin/python   an environment of yours, whose torch is kept (default: .venv, made here)
#   ARGS="…"                         further arguments for the demo, pytest or ruff
#   FORCE=1                          go through the whole set-up again and repair what is damaged
#   OPS=cpu|cuda                     mmcv's operators (default: CUDA where torch sees a GPU)

SHELL := /bin/sh
PYTHON ?=
ARGS ?=
OPS ?= auto
FORCE ?=

override PYTHON := $(patsubst ~/%,$(HOME)/%,$(PYTHON))
ENV_PYTHON := $(or $(PYTHON),.venv/bin/python)
SETUP := tools/setup/setup_env.py --ops '$(OPS)' $(if $(FORCE),--force) $(if $(PYTHON),--python '$(PYTHON)')
# a set-up runs with the system's Python; without one, the environment's own will do
SYSTEM_PYTHON := $(or $(shell command -v python3),$(shell command -v python3.12),$(shell command -v python3.11),$(PYTHON))

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint wheel doctor clean

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "  make %-8s %s\n", $$1, $$2}'
	@echo '  PYTHON=/path/to/env/bin/python uses your own environment (torch 2.4 or newer), ARGS="…" passes arguments on'

setup:  ## make .venv ready (all other targets but doctor do it by themselves)
ifeq ($(SYSTEM_PYTHON),)
	@echo 'There is no python3 on PATH: install Python 3.11 or 3.12 with its venv module and headers.' >&2; exit 2
else
	@'$(SYSTEM_PYTHON)' $(SETUP)
endif

demo: setup  ## train SSDLite-AFFNet on generated pictures, evaluate, draw a report
	@'$(ENV_PYTHON)' demo/run_demo.py $(ARGS)

test: setup  ## run the test suite (ARGS="-m 'not slow'" for the quick part)
	@'$(ENV_PYTHON)' -m pytest $(ARGS)

lint: setup  ## check the code with ruff
	@'$(ENV_PYTHON)' -m ruff check . $(ARGS)

wheel: setup  ## build dist/mmaffnet-*.whl
	@'$(ENV_PYTHON)' -m pip wheel --no-deps --no-build-isolation --no-cache-dir -q -w dist .
	@ls dist/mmaffnet-*.whl

doctor:  ## print versions, what is missing for which task, and the line that mends it
	@if [ -x "$$(command -v '$(ENV_PYTHON)')" ]; then '$(ENV_PYTHON)' tools/doctor.py; \
	else '$(or $(SYSTEM_PYTHON),python3)' tools/doctor.py; fi

clean:  ## remove build products and caches; .venv, data and results stay
	@rm -rf build dist .pytest_cache .ruff_cache ./*.egg-info
	@find . \( -name .venv -o -name .git -o -name data -o -name work_dirs \) -prune -o -name __pycache__ -type d -print \
	  | xargs -r rm -rf
