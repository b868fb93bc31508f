# Every target does its own set-up in .venv; a second call installs nothing.
# PYTHON may name another interpreter (>= 3.11).
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-all check lint types imports docs fmt setup clean
.DEFAULT_GOAL := demo

# pip of a fresh virtual environment can predate dependency groups
.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "locatlas needs Python 3.11 or later; name one with: make PYTHON=python3.11 ...")'
	@echo "creating .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'

$(STAMP)-run: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing locatlas and what it needs into .venv (first time only, some minutes)"
	@$(INSTALL) -e '.[plot,serve]'
	@touch $@

$(STAMP)-test: $(STAMP)-run
	@$(INSTALL) --group test
	@touch $@

$(STAMP)-lint: $(STAMP)-run
	@$(INSTALL) --group lint
	@touch $@

$(STAMP)-docs: $(STAMP)-run
	@$(INSTALL) --group docs
	@touch $@

# all of it, in one go: pip looks at every package anew each time
$(STAMP)-all: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing locatlas and what it needs into .venv (first time only, some minutes)"
	@$(INSTALL) -e '.[plot,serve]' --group test --group lint --group docs
	@touch $(STAMP)-run $(STAMP)-test $(STAMP)-lint $(STAMP)-docs $@

setup: $(STAMP)-all

demo: $(STAMP)-run
	@$(BIN)/locatlas demo demo

# two workers on two cores: threads of each would only wait for those of the other;
# compiled modules are kept, for the many processes that tests start
TESTED = OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest
test: $(STAMP)-test
	$(TESTED) -q -n 2 --dist worksteal

# nothing left out that tests/quick.py leaves out; Ray is large, and its tests take minutes: only here
test-all: $(STAMP)-test
	@$(INSTALL) -e '.[ray]'
	LOCATLAS_TESTS=thorough $(TESTED) -q -n 2 --dist worksteal -m "not gpu and not network"

lint: $(STAMP)-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)-lint
	$(BIN)/mypy

imports: $(STAMP)-lint
	$(BIN)/lint-imports

# a link that leads nowhere, a page that no list names, a docstring that cannot be read: all are errors
docs: $(STAMP)-docs
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --quiet docs docs/_build/html
	@echo "built: docs/_build/html/index.html"

fmt: $(STAMP)-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: $(STAMP)-all lint types imports docs test

clean:
	rm -rf .venv build *.egg-info demo docs/_build
