# Everything sets itself up: a machine needs Python >= 3.11 and make.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# One process for each core, each with one thread; a file's tests stay together.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile

.PHONY: demo test test-all test-avx2 lint clean

demo: $(VENV)/installed
	$(BIN)/python scripts/tour.py

test: $(VENV)/installed
	$(PYTEST) -m "not slow"

test-all: $(VENV)/installed
	$(PYTEST)

# What computes, as on a processor without instructions for bfloat16.
test-avx2: $(VENV)/installed
	ONEDNN_MAX_CPU_ISA=AVX2 $(PYTEST) -m "not slow" $(addprefix tests/test_, network.py training.py \
		precision.py trainer.py classification_loss.py language_model.py teacher.py pipeline.py evaluation.py)

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python >= 3.11 is needed: make PYTHON=...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
