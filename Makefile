# make demo | test | test-slow | format | clean

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TORCH := $(shell grep '^torch==' constraints.txt)

.PHONY: demo test test-slow format clean

demo: $(STAMP)
	$(BIN)/tissuegraph simulate tissue demo/slide --cells 2000 --overwrite
	$(BIN)/tissuegraph segment demo/slide -o demo/out --overwrite
	$(BIN)/tissuegraph evaluate demo/out --truth demo/slide/truth.parquet -o demo/judged --overwrite
	@echo "written to demo:" && ls -lhR demo/out demo/judged

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

# pytest ends with 5 where no test bears the mark.
test-slow: $(STAMP)
	$(BIN)/pytest -m slow || [ $$? -eq 5 ]

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests scripts benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# torch comes first and pinned: left to itself, pip may take a build with gigabytes of CUDA.
$(STAMP): pyproject.toml constraints.txt
	@for python in python3.11 python3; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi; python=; \
	done; \
	if [ -z "$$python" ]; then echo "Python 3.11 or later is needed, found: $$(python3 --version 2>&1); install it, or put it first on PATH." >&2; exit 1; fi; \
	$$python -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $(TORCH)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
