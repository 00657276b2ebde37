# Two commands for a fresh machine with Python 3.11: `make demo` and `make test`. Each makes its own .venv.
# `make host` runs the tests inside a ComfyUI checkout (COMFYUI=...), in a second environment that has its requirements.
#
# TORCH says which torch to install. The default is a CPU build of the version the tests are run with (on Linux PyPI
# alone would bring gigabytes of CUDA; where PyTorch's own index cannot be reached, pip goes on without it). For a GPU:
# make demo TORCH=torch

PYTHON ?= python3
TORCH ?= torch==2.13.0 --extra-index-url https://download.pytorch.org/whl/cpu
# What of pyproject.toml's extras is installed; CI adds `kernels` (triton, some 300 MB), to test the GPU kernel without a GPU.
EXTRAS ?= runner,test
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# The checkout above this folder if it lies in custom_nodes, else the conventional place.
COMFYUI ?= $(abspath $(patsubst %/main.py,%,$(firstword $(wildcard ../../main.py) $(HOME)/comfy/ComfyUI/main.py)))
HOST := .venv/host

# OpenMP threads that spin while they wait starve each other on small shared machines.
export OMP_WAIT_POLICY ?= passive
export GOMP_SPINCOUNT ?= 0

.PHONY: demo test host lint evaluate train clean

demo: $(STAMP)
	$(BIN)/videograin demo --out out/demo

test: $(STAMP)
	$(BIN)/python -m pytest

host: $(HOST)/comfyui
	VIDEOGRAIN_SLOW=1 OMP_NUM_THREADS=1 COMFYUI_PATH="$(COMFYUI)" $(HOST)/bin/python -m pytest tests/in_comfyui

lint: $(STAMP)
	$(BIN)/ruff check .

evaluate: $(STAMP)
	$(BIN)/python -m videograin.lab.training evaluate --out out/evaluate

train: $(STAMP)
	$(BIN)/python -m videograin.lab.training train --out runs

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	# torch alone first: what it needs comes from PyPI with the rest, not from PyTorch's index.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$(EXTRAS)]"
	touch $(STAMP)

$(HOST)/comfyui: pyproject.toml lab/install_host.sh
	$(MAKE) VENV=$(HOST) $(HOST)/installed
	sh lab/install_host.sh $(HOST)/bin/python "$(COMFYUI)"
	touch $@

clean:
	rm -rf $(VENV) out
