# The two commands of the README are `make demo` and `make test`; both set up .venv first.
VENV := .venv
BIN := $(VENV)/bin
# Threads that wait soon sleep: xbar/__init__.py tells why.
export GOMP_SPINCOUNT ?= 1000
INSTALLED := $(VENV)/.installed

.PHONY: demo test lint golden benchmarks clean

demo: $(INSTALLED)
	$(BIN)/xbar run digits --chip isaac --out out/digits-isaac

test: $(INSTALLED) lint
	$(BIN)/pytest

lint: $(INSTALLED)
	$(BIN)/ruff check
	mkdir -p build/typed/xbar && ln -sfn $(CURDIR)/xbar/__init__.py build/typed/xbar/__init__.py
	for room in hw models compression workloads reports; do ln -sfn $(CURDIR)/$$room build/typed/xbar/$$room; done
	$(BIN)/mypy

golden: $(INSTALLED)
	$(BIN)/python -m tests.golden.energies --accept

benchmarks: $(INSTALLED)
	$(BIN)/python benchmarks/functional_product.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/events.py
	$(BIN)/python benchmarks/fairea.py
	$(BIN)/python benchmarks/sweep.py

$(INSTALLED): setup.cfg constraints.txt
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) out
