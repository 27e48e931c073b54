# Every target works in a fresh clone: it makes its own environment, .venv, the first time.
#   make echo                    watch an encoder-decoder learn to echo sequences
#   make test ARGS="-k lstm"     the tests; ARGS go to pytest
#   make lint | nojit | coverage
#   make neon                    the tests of the kernels with their code for AArch64, in an emulated processor;
#                                KERNELS="simd passes" for those in tests/test_simd.py and tests/test_passes.py
#   make docs                    the documentation as a site, in build/site; a warning is an error
#   make fuzz                    the random trials of the tests, ten times as many; FUZZ=100 for more
#   make test-oldest             the tests with Python 3.10 and the oldest versions of everything, in an environment apart
#   make test-locked             the tests with the very versions that CI uses, in an environment apart
#   make dist                    build the wheel and the sdist into dist/, and check them
#   make test-dist               the same, and each installed with NumPy and Numba alone, and run
#   make lock                    write down the newest versions for CI
# PYTHON=/path/to/python picks the interpreter of an environment yet to be made, VENV=folder another place for it.

PYTHON :=
VENV   := .venv
ARGS   :=
FUZZ   := 10
PARALLEL := --numprocesses=auto --dist=worksteal
KERNELS := simd products passes views few_rows few_sequences recurrent recurrent_contract attention noise composite \
    optimizers apart

PYTHONS := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python3.10 python)
BIN := $(VENV)/bin
# What was installed went with an environment whose Python is no longer there, or with all else that was in its folder.
OTHERS = ls -A "$(VENV)" 2> /dev/null | grep -qv '^\.ready'
$(shell [ -x $(BIN)/python ] || { [ ! -e $(VENV)/pyvenv.cfg ] && $(OTHERS); } || rm -f $(VENV)/.ready $(VENV)/.ready-test $(VENV)/.ready-docs)
# Nothing is translated to bytecode that is never imported: for all of it that would take half of the installation. What
# is imported is translated once, into the environment, also where Python may not write bytecode: or each process would.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
export PYTHONDONTWRITEBYTECODE :=

.PHONY: echo test test-oldest test-locked dist test-dist lint docs lock nojit neon fuzz coverage coverage-plain coverage-compiled

echo: $(VENV)/.ready
	$(BIN)/python -m numpylstm echo $(ARGS)

test: $(VENV)/.ready-test
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-oldest:
	PIP_CONSTRAINT=.ci/oldest.txt $(MAKE) VENV=.venv-oldest PYTHON=$(or $(PYTHON),python3.10) test

test-locked:
	PIP_CONSTRAINT=.ci/requirements.txt PIP_BUILD_CONSTRAINT=.ci/requirements.txt $(MAKE) VENV=.venv-locked test

dist: $(VENV)/.ready
	$(PIP) build twine
	rm -rf dist
	$(BIN)/python -m build --outdir dist . > /dev/null
	$(BIN)/python -m twine check --strict dist/*

test-dist: dist
	$(BIN)/python tests/installed.py dist/*

lock:
	scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
	    $(MAKE) VENV="$$scratch" "$$scratch/.ready-test" "$$scratch/.ready-docs" && \
	    "$$scratch/bin/python" -m pip install --quiet --upgrade setuptools && \
	    "$$scratch/bin/python" -m pip freeze --all --exclude-editable > "$$scratch/versions" && \
	    { sed -n '/^#/p' .ci/requirements.txt; \
	      sed '/^pip==/d; s/$$/; python_version >= "3.11"/' "$$scratch/versions"; } > "$$scratch/lock" && \
	    mv "$$scratch/lock" .ci/requirements.txt

lint: $(VENV)/.ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Never with --quiet: what it does not print, --strict does not count.
docs: $(VENV)/.ready-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict -f docs/site/mkdocs.yml
	@echo "build/site is made; to read it: $(BIN)/python -m http.server -d build/site"

# The tests marked nojit, with the kernels as plain Python: what the compiler runs is also right without it.
nojit: $(VENV)/.ready-test
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest $(PARALLEL) -m nojit $(ARGS)

# See tests/aarch64.py. What lies behind an array is watched in a process of its own, which is not emulated.
neon: $(VENV)/.ready-test
	NUMBA_CPU_NAME=cortex-a72 NUMBA_CPU_FEATURES=+neon,+fp-armv8 \
	    $(BIN)/python tests/aarch64.py $(KERNELS:%=tests/test_%.py) \
	    --deselect tests/test_simd.py::test_nothing_behind_an_array_is_touched $(ARGS)

fuzz: $(VENV)/.ready-test
	NUMPYLSTM_FUZZ=$(FUZZ) $(BIN)/python -m pytest -m fuzz $(ARGS)

# Compiled code is invisible to coverage, plain Python too slow for every test: the report is the union of both. The
# cache starts empty: the functions that emit the kernels' vector code run only when it is compiled.
coverage: $(VENV)/.ready-test
	$(BIN)/coverage erase
	$(MAKE) --no-print-directory coverage-plain coverage-compiled
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

coverage-plain: $(VENV)/.ready-test
	NUMBA_DISABLE_JIT=1 $(BIN)/coverage run -m pytest $(PARALLEL) -m nojit

coverage-compiled: $(VENV)/.ready-test
	cache=$$(mktemp -d) && trap 'rm -rf "$$cache"' EXIT && \
	    NUMBA_CACHE_DIR="$$cache" $(BIN)/coverage run -m pytest $(PARALLEL)

$(VENV)/.ready: setup.cfg pyproject.toml | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.ready-test: setup.cfg pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[study,test]'
	@touch $@ $(VENV)/.ready

$(VENV)/.ready-docs: setup.cfg pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[docs]'
	@touch $@ $(VENV)/.ready

$(BIN)/python:
	@if [ ! -e "$(VENV)/pyvenv.cfg" ] && { [ -f "$(VENV)" ] || $(OTHERS); }; then \
	    echo "$(VENV) is there and is no environment of Python; name another place with: make VENV=folder" >&2; \
	    exit 1; \
	fi; \
	for python in $(PYTHONS); do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || continue; \
	    echo "making $(VENV) with $$("$$python" --version)"; \
	    "$$python" -m venv --clear $(VENV) && exit 0; \
	    rm -rf $(VENV); \
	    exit 1; \
	done; \
	echo "numpylstm needs Python 3.10 or newer; none found among: $(PYTHONS)" >&2; \
	echo "name one with: make PYTHON=/path/to/python3" >&2; \
	exit 1
