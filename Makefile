# `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TORCH := $(shell grep -E '^torch==' constraints.txt)
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.SILENT:
.DEFAULT_GOAL := help
.PHONY: help git setup book seeds test repro lint deps fetch clean

# Commands that the pipeline starts by name (rfloc, dvc) are those of the environment.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Published files and weights that lie beside the checkout are used where nothing else is named.
ifndef RFLOC_DATA
ifneq ($(wildcard ../shared/data),)
export RFLOC_DATA := $(shell cd ../shared/data && pwd)
endif
endif
ifndef RFLOC_WEIGHTS
ifneq ($(wildcard ../shared/weights),)
export RFLOC_WEIGHTS := $(shell cd ../shared/weights && pwd)
endif
endif

# make passes over what it does not know, and paths with spaces it splits but for those of CURDIR.
GIVEN := $(foreach v,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(v)))),$(v)))
ifneq ($(filter-out PYTHON RFLOC_DATA RFLOC_WEIGHTS MAKE% -*-%,$(GIVEN)),)
$(error make knows PYTHON, RFLOC_DATA and RFLOC_WEIGHTS, not $(filter-out PYTHON RFLOC_DATA RFLOC_WEIGHTS MAKE% -*-%,$(GIVEN)): parameters go to 'rfloc params')
endif

# $(call say,what) and $(call done,what): what is being done, and how long it took.
say = printf '\n== %s\n' "$(1)"; SECONDS=0
done = printf '== %s: %d min %02d s\n' "$(1)" $$((SECONDS / 60)) $$((SECONDS % 60))

help:  ## list the targets
	echo "RF-Loc. From a fresh clone: 'make book' renders the book, 'make test' checks everything."
	awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP)  ## make .venv with the exact versions of constraints.txt

$(STAMP): constraints.txt pyproject.toml
	$(call say,setting up $(VENV))
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
	  echo "RF-Loc needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | head -n 1). Name one: make PYTHON=python3.11" >&2
	  exit 1
	}
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV) || {
	  echo "$(PYTHON) cannot make a virtual environment: install python3-venv, or name another: make PYTHON=python3.11" >&2
	  exit 1
	}
	pip=("$(CURDIR)/$(BIN)/python" -m pip)
	"$${pip[@]}" install -q -c constraints.txt setuptools wheel
	if "$${pip[@]}" show -q torch 2>/dev/null; then
	  echo "torch is there"
	elif nvidia-smi -L >/dev/null 2>&1; then
	  echo "GPU found: torch comes with CUDA"
	elif [ "$$(uname -sm)" = "Linux x86_64" ]; then
	  offered=$$("$${pip[@]}" index versions torch 2>/dev/null || true)
	  if [[ $$offered == *$(subst torch==,,$(TORCH))+cpu* ]]; then
	    echo "no GPU: pip knows of a CPU build of $(TORCH)"
	  else
	    echo "no GPU: asking PyTorch's index for the CPU build of $(TORCH)"
	    "$${pip[@]}" install -q --retries 0 --timeout 15 --no-deps --index-url $(TORCH_CPU_INDEX) $(TORCH) ||
	      echo "PyTorch's index cannot be reached: taking the package index's own build, several GB larger"
	  fi
	fi
	echo "installing the packages of constraints.txt (some minutes, 3 GB)"
	"$${pip[@]}" install -c constraints.txt --no-build-isolation -e '.[dev]' |
	  while read -r what which _; do
	    case $$what in
	      Collecting) printf '  %3d s  %s\n' $$SECONDS "$${which%%[<>=!~[;]*}" ;;
	      Installing) printf '  %3d s  unpacking\n' $$SECONDS ;;
	    esac
	  done
	"$${pip[@]}" check
	touch $@
	$(call done,environment ready)

# A download without git: DVC cannot run there.
git:
	test -e .git || {
	  echo "no git repository: clone it, or in this folder: git init && git add -A && git commit -m start (DVC needs git)" >&2
	  exit 1
	}

repro: git setup  ## run what params.yaml asks for and is not done yet
	$(call say,running the pipeline)
	rfloc repro
	$(call done,pipeline)

book: repro  ## run the pipeline, build the book, print its first page
	$(call say,building the book)
	rfloc book
	$(call done,book)

seeds: repro  ## train every experiment from five seeds: how much of Table 1 is luck
	$(call say,training from five seeds)
	rfloc seeds
	$(call done,seeds)

lint: setup  ## style and types
	$(call say,checking style and types)
	ruff check
	ruff format --check
	mypy rfloc
	$(call done,style and types)

deps: setup  ## write the files of rfloc that each page uses into dvc.yaml
	python -m tests.deps

test: git lint  ## everything that is checked, the smoke pipeline and the book included
	$(call say,running the tests)
	pytest -n 2 --dist loadfile --no-loadscope-reorder
	$(call done,tests)

fetch: setup  ## fill data/rome with the published measurements, checked by hash
	rfloc fetch rome

clean:  ## remove what stages and tools made, but not .venv nor DVC's cache
	rm -rf build trial-* notebooks/trial-* book/_build book/executed .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find rfloc tests notebooks -name __pycache__ -prune -exec rm -rf {} +
