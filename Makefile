# The two commands of the README are `make demo` and `make test`; both set up .venv first. `make check` is for the work between, `make docs`
# for the guide as a site.
VENV := .venv
BIN := $(VENV)/bin
# Threads that wait soon sleep: xbar/__init__.py tells why.
export GOMP_SPINCOUNT ?= 1000
INSTALLED := $(VENV)/.installed

# Tests on every core, up to 8: more would wait for the longest file. A file's tests stay on one core, so that what they share is made
# once; the longest files first (tests/conftest.py).
PYTEST := $(BIN)/pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

.PHONY: demo test check lint docs golden benchmarks clean

demo: $(INSTALLED)
	$(BIN)/xbar run digits --chip isaac --out out/digits-isaac --replace

test: $(INSTALLED) lint
	$(PYTEST)

# Lint and the tests that are not slow: tests/slow.txt, which `pytest --measure` writes, lists those that are.
check: $(INSTALLED)
	$(BIN)/ruff check
	$(PYTEST) -m "not slow"

lint: $(INSTALLED)
	$(BIN)/ruff check
	mkdir -p build/typed/xbar && ln -sfn $(CURDIR)/xbar/__init__.py build/typed/xbar/__init__.py
	for room in hw models compression workloads reports; do ln -sfn $(CURDIR)/$$room build/typed/xbar/$$room; done
	$(BIN)/mypy
	$(BIN)/mypy tests/types_are_seen.py

# The guide and the reference of all public names, to read without a network: build/docs/index.html. Warnings are errors.
docs: $(VENV)/.installed-docs
	$(BIN)/sphinx-build --builder html --conf-dir docs/site --fresh-env --quiet --fail-on-warning --keep-going . build/docs
	@echo build/docs/index.html

golden: $(INSTALLED)
	$(BIN)/pytest tests/golden --accept

benchmarks: $(INSTALLED)
	$(BIN)/python benchmarks/fairea.py
	$(BIN)/python benchmarks/sweep.py
	$(BIN)/python benchmarks/ratios.py

# -P: this folder stays out of the path; its compression/ would hide the package of that name in Python 3.14.
$(INSTALLED): setup.cfg constraints.txt
	python3 -P -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/.installed-docs: $(INSTALLED)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) out build/docs
