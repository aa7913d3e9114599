# Everything runs from a virtual environment of its own; nothing outside this folder is touched.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TORCH_VERSION := 2.13.0
TORCH := torch==$(TORCH_VERSION)
# The package index that PyTorch comes from; empty is pip's own.
TORCH_INDEX ?=
TORCH_FROM := $(TORCH_INDEX:%=--index-url %)
CPU_INDEX := https://download.pytorch.org/whl/cpu
NO_DEPS := sglang==0.5.23 torchvision==0.28.0 triton==3.7.1 apache-tvm-ffi==0.1.11
SAMPLE_MODEL := .cache/sample-model
# By file, for the fixtures of its module; all that start SGLang go to one worker (tests/conftest.py).
WORKERS ?= 2
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test test-slow test-ecosystem test-ray check format lock lock-ecosystem clean
help: ## Show what there is to run
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

# PyTorch comes with its own dependencies, because on PyPI `torch` is the CUDA build and needs them.
$(VENV)/.installed: requirements-cpu.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	@test -e $@ || case "$$($(BIN)/pip index versions --retries 1 $(TORCH_FROM) torch 2> /dev/null)" in \
	*" $(TORCH_VERSION)+cpu"*) echo "Fetching PyTorch for CPUs and requirements-cpu.lock: about 0.6 GB, 2.6 GB on disk.";; \
	*" $(TORCH_VERSION)"*) echo "Fetching PyTorch with CUDA and requirements-cpu.lock: about 3 GB, 6 GB on disk."; \
	   echo "Without CUDA it is 0.6 GB: stop, and add TORCH_INDEX=$(CPU_INDEX)";; \
	esac
	$(BIN)/pip install --quiet $(TORCH_FROM) $(TORCH)
	$(BIN)/pip install --quiet --no-deps -r requirements-cpu.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	mkdir -p .tree && ln -sfn .. .tree/embed_index
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed requirements-test.lock
	@test -e $@ || echo "Fetching requirements-test.lock: about 0.1 GB, 0.2 GB on disk."
	$(BIN)/pip install --quiet --no-deps -r requirements-test.lock
	touch $@

.PHONY: sample-model
sample-model: $(VENV)/.installed ## Build the small model for the demonstration and the tests
	$(BIN)/python sample_data/build_model.py $(SAMPLE_MODEL)

demo: sample-model ## Index the sample corpus with a real server, then search it
	BIN=$(BIN) SAMPLE_MODEL=$(SAMPLE_MODEL) sh sample_data/demo.sh

test: sample-model $(VENV)/.installed-test ## Run the test suite
	$(BIN)/pytest $(PARALLEL) -m "not slow and not gpu and not ecosystem and not ray" --durations=10

test-slow: sample-model $(VENV)/.installed-test ## Run the tests that take minutes
	$(BIN)/pytest -m "slow and not gpu and not ecosystem and not ray" --timeout 3600

test-ecosystem: sample-model $(VENV)/.installed-test ## Try the clients that others make on our collections
	$(BIN)/pytest -m ecosystem

$(VENV)/.installed-ray: $(VENV)/.installed-test requirements-ray.lock
	@test -e $@ || echo "Fetching requirements-ray.lock: about 0.1 GB, 0.25 GB on disk."
	$(BIN)/pip install --quiet --no-deps -r requirements-ray.lock
	touch $@

test-ray: sample-model $(VENV)/.installed-ray ## Run on Ray clusters of simulated nodes, and kill what there is
	$(BIN)/pytest -m "ray and not slow"

check: $(VENV)/.installed-test ## Lint, check types, run the test suite with branch coverage
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy -p embed_index.schemas -p embed_index.pipeline -p embed_index.jobs
	$(BIN)/mypy tests sample_data
	$(BIN)/pytest $(PARALLEL) -m "not slow and not gpu and not ecosystem and not ray" --cov

format: $(VENV)/.installed-test ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

FREEZE := .cache/lock/bin/pip freeze --all --exclude embed-index --exclude torch --exclude pip | sed 's/+cpu$$//'
lock: ## Write the locks anew from requirements-cpu.in and pyproject.toml
	rm -rf .cache/lock && $(PYTHON) -m venv .cache/lock
	.cache/lock/bin/pip install --quiet $(TORCH_FROM) $(TORCH)
	@.cache/lock/bin/pip freeze | grep -q '^torch==.*+cpu$$' \
	|| { echo "A CUDA build would bring its own pins: add TORCH_INDEX=$(CPU_INDEX)" >&2; exit 1; }
	.cache/lock/bin/pip install --quiet -r requirements-cpu.in .
	.cache/lock/bin/pip install --quiet --no-deps $(NO_DEPS)
	( echo "# Written by 'make lock'; install with --no-deps, after $(TORCH)."; \
	  $(FREEZE) ) > requirements-cpu.lock
	.cache/lock/bin/pip install --quiet --constraint requirements-cpu.lock ".[test]"
	( echo "# Written by 'make lock'; install with --no-deps, after requirements-cpu.lock."; \
	  $(FREEZE) | grep -vxFf requirements-cpu.lock ) > requirements-test.lock
	.cache/lock/bin/pip install --quiet --constraint requirements-cpu.lock --constraint requirements-test.lock ".[ray]"
	( echo "# Written by 'make lock'; install with --no-deps, after requirements-test.lock."; \
	  $(FREEZE) | grep -vxFf requirements-cpu.lock | grep -vxFf requirements-test.lock ) > requirements-ray.lock
	rm -rf .cache/lock

ECOSYSTEM := $(basename $(wildcard tests/ecosystem/*.in tests/benchmarks/peers/*.in))
lock-ecosystem: $(ECOSYSTEM:=.lock) ## Write the locks of clients and peers anew, from the .in files beside them

.PHONY: $(ECOSYSTEM:=.lock)
$(ECOSYSTEM:=.lock): %.lock: %.in
	rm -rf .cache/lock && $(PYTHON) -m venv .cache/lock
	.cache/lock/bin/pip uninstall --quiet --yes setuptools
	.cache/lock/bin/pip install --quiet -r $<
	( echo "# Written by 'make lock-ecosystem'; install with --no-deps."; \
	  .cache/lock/bin/pip freeze --all --exclude embed-index --exclude pip ) > $@
	rm -rf .cache/lock

clean: ## Remove the environment, caches and the demonstration's state
	rm -rf $(VENV) .cache .tree .embed-index demo build dist *.egg-info
