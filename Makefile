.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help eval train test mutate fuzz lint check audit bench gpu docs clean

help:  ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The bundled sample where the user has put nothing of their own in place.
ifeq ($(wildcard models/epoch_120.ckpt data/reference data/bounding_box_test),)
EXPERIMENT := sample
else
EXPERIMENT := none
endif

eval: $(INSTALLED)  ## Evaluate models/epoch_120.ckpt on data/, or the bundled sample without them
	$(BIN)/python eval.py experiment=$(EXPERIMENT)

train: $(INSTALLED)  ## Train on data/, or on the bundled sample without it
	$(BIN)/python train.py experiment=$(EXPERIMENT)

test: $(INSTALLED)  ## Run the tests, and show which lines and branches they do not reach
	$(BIN)/pytest --numprocesses 2 --dist loadgroup --cov

mutate: $(INSTALLED)  ## Change the library (or CHANGED=statistics) and show what no test notices
	$(BIN)/pip install --quiet --constraint constraints.txt mutmut
	$(BIN)/python -m tests.mutate $(addprefix --sample ,$(SAMPLE)) $(CHANGED)

fuzz: $(INSTALLED)  ## Try damaged files and odd orders of calls for minutes
	FUZZ_EXAMPLES=5000 $(BIN)/pytest --numprocesses 2 tests/fuzz

lint: $(INSTALLED)  ## Check style, types and which part imports which
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

check: lint test  ## Everything that has to pass before a commit

audit: $(INSTALLED)  ## Look up known vulnerabilities of the tested versions
	$(BIN)/pip install --quiet --constraint constraints.txt pip-audit
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

bench: $(INSTALLED)  ## Measure speed and memory beside faiss, scikit-learn and others
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks.search
	$(BIN)/python eval.py experiment=sample datamodule.identities=900 logger=none hydra.run.dir=logs/bench
	$(BIN)/python -m benchmarks.search --data logs/bench/embeddings --sizes 1000x3000 --distance cosine euclidean
	$(BIN)/python -m benchmarks.metric_memory
	$(BIN)/python -m benchmarks.distributed
	$(BIN)/python -m benchmarks.analysis
	$(BIN)/python -m benchmarks.throughput

gpu: $(INSTALLED)  ## Test and measure on a GPU
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/pytest tests/test_device.py --device cuda
	$(BIN)/python -m benchmarks.search --device cuda
	$(BIN)/python -m benchmarks.throughput --device cuda

docs: $(INSTALLED)  ## Build site/index.html, to be read without a network
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:  ## Remove caches and the environment; data, models and results stay
	rm -rf $(VENV) site src/*.egg-info .coverage* .hypothesis .mutants .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[app,dev]'
	touch $@
