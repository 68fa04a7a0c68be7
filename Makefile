# `make demo` and `make test` set up .venv by themselves. PYTHON=... chooses another interpreter (3.11 or newer).
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
# Waiting threads that sleep: two processes on few cores otherwise slow each other several-fold.
export OMP_WAIT_POLICY ?= PASSIVE
# Pins the build backend too, which pip installs in an environment of its own.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-slow test-all test-web lint format trust-page web-vectors audit docs viewer wheel clean
.DEFAULT_GOAL := test

.venv/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "lodbrain needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: .venv/.installed
	$(BIN)/lodbrain demo -o demo

# The default tests are many and small: several processes of one thread. Tests of a file stay together, for their fixtures.
test: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

# What `make test` leaves out, but for the network and for minutes on end. Two at a time, since some of them take a whole volume's memory.
test-slow: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "(slow or data or browser or gpu) and not (network or long)"

test-all: test test-slow

# The TypeScript of the page that segments in a browser: types, and tests against vectors of the Python code. Needs Node.js 20.
web/node_modules/.package-lock.json: web/package-lock.json
	cd web && npm ci --ignore-scripts --no-audit --no-fund

test-web: web/node_modules/.package-lock.json
	cd web && npm run --silent check && npm run --silent test

# The vectors of those tests again, where the Python code gives others.
web-vectors: .venv/.installed
	PYTHONPATH=tests/makers $(BIN)/python -m web_vectors

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: .venv/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The catalogue in docs/reference/trust.md, from the table that the tests use.
trust-page: .venv/.installed
	PYTHONPATH=tests/makers $(BIN)/python -m trust_page

# Known weaknesses of what is pinned; needs the network, and says so where there is none.
audit: .venv/.installed
	$(BIN)/python .ci/audit

# The site, in build/site/index.html.
docs: .venv/.installed
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --jobs auto -b html docs build/site

# The reports' viewer again, from npm, checked against what is pinned.
viewer:
	.ci/fetch-viewer

wheel: .venv/.installed
	$(BIN)/python -m pip wheel --no-deps --wheel-dir dist .

clean:
	rm -rf .venv dist build demo
