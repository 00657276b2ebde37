# Two commands for a fresh machine with Python 3.10 or newer (tested: 3.11): `make demo` and `make test`. Each makes its own
# .venv.
# `make host` runs the tests inside a ComfyUI checkout (COMFYUI=... or COMFYUI_PATH=...), in a second environment that has its requirements.
#
# TORCH says which torch to install. The default is a CPU build of the version the tests are run with (on Linux PyPI
# alone would bring gigabytes of CUDA). PyTorch's own index is asked once, for three seconds at most; where it cannot be
# reached pip goes on without it, and without its minutes of retries. For a GPU, without that index: make demo CPU_INDEX=

PYTHON ?= python3
TORCH ?= torch==2.13.0
CPU_INDEX ?= https://download.pytorch.org/whl/cpu
# What of pyproject.toml's extras is installed; CI adds `kernels` (triton, some 300 MB), to test the GPU kernel without a GPU.
EXTRAS ?= runner,test
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# COMFYUI_PATH is the tests' own name of it. Else the checkout above this folder if it lies in custom_nodes, or the
# conventional place.
COMFYUI ?= $(or $(COMFYUI_PATH),$(abspath $(patsubst %/main.py,%,$(firstword $(wildcard ../../main.py) $(HOME)/comfy/ComfyUI/main.py))))
HOST := .venv/host

# OpenMP threads that spin while they wait starve each other on small shared machines.
export OMP_WAIT_POLICY ?= passive
export GOMP_SPINCOUNT ?= 0

.PHONY: demo test slow gpu fuzz mutants coverage quick host lint types docs evaluate train clean

demo: $(STAMP)
	$(BIN)/videograin demo --out out/demo

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# What `test` leaves out: compilers, training, fuzzing, faults. With other random examples every time (but in .ci/run, which
# must say of a change what it said before); one that fails comes with what brings it back: its seed, or @reproduce_failure.
slow: export HYPOTHESIS_PROFILE ?= others every time
slow: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m slow

# All that needs a GPU, in order of worth, nine minutes a call; the same command goes on. Wants `make test CPU_INDEX=` before it.
gpu: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[kernels]"
	$(BIN)/python -m videograin.lab.gpu

# 20,000 damaged and hostile files for all that reads files: no crash, no hang, no traceback, no more than 1 GB.
fuzz: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m videograin.lab.fuzz

# 400 small changes of attention/, editing/ and the readers in runner/media, and whether a test notices; hours. COUNT, SEED.
mutants: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[mutants]"
	OMP_NUM_THREADS=1 $(BIN)/python -m videograin.lab.mutants --page --count $(or $(COUNT),400) --seed $(or $(SEED),0)

# Which lines of the product `test` runs. The nodes, and most of hosts/comfyui, need `host` and show little here.
coverage: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term-missing

# The method's mathematics, the nodes' definitions and the layout of the house: a minute or more, for while you work.
quick: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile tests/attention tests/nodes tests/test_*.py \
	    --ignore tests/attention/kernels/test_triton.py

host: $(HOST)/comfyui
	OMP_NUM_THREADS=1 COMFYUI_PATH="$(COMFYUI)" $(HOST)/bin/python -m pytest -m "" tests/in_comfyui

# Style, and that arrows between the rooms run one way (the contracts in pyproject.toml).
lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

# Types of the mathematics and the editing; Node comes with pyright from PyPI.
types: $(STAMP)
	$(BIN)/pyright --pythonpath $(BIN)/python

# The documents as a site, in out/site. The API page's reader finds packages by their folders' names, and a clone may have any.
docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[docs]"
	above=$$(mktemp -d) && ln -s "$(CURDIR)" $$above/videograin && trap "rm -r $$above" EXIT && \
	    ABOVE_PACKAGE=$$above $(BIN)/mkdocs build --strict --site-dir out/site

evaluate: $(STAMP)
	$(BIN)/python -m videograin.lab.training evaluate --out out/evaluate

train: $(STAMP)
	$(BIN)/python -m videograin.lab.training train --out runs

$(STAMP): pyproject.toml
	@echo "Installing into $(VENV): a minute or more, by the connection; once."
	$(PYTHON) -m venv $(VENV)
	# torch alone first: what it needs comes from PyPI with the rest, not from PyTorch's index.
	index=$$($(PYTHON) -c "import urllib.request as r; r.urlopen('$(CPU_INDEX)/torch/', timeout=3)" 2>/dev/null \
	    && echo --extra-index-url $(CPU_INDEX)); \
	echo "1 of 2: $(TORCH), the largest part"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(TORCH) $$index
	@echo "2 of 2: this pack and the packages that it needs ($(EXTRAS))"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$(EXTRAS)]"
	touch $(STAMP)

$(HOST)/comfyui: pyproject.toml lab/install_host.sh
	$(MAKE) VENV=$(HOST) $(HOST)/installed
	@echo "Installing what ComfyUI in $(COMFYUI) needs into $(HOST): a minute or more."
	sh lab/install_host.sh $(HOST)/bin/python "$(COMFYUI)"
	touch $@

clean:
	rm -rf $(VENV) out
