# Each goal does its own set-up in .venv, on a machine that has CPython >= 3.11, make, gcc and git.
#
#   make nightly ARGS="--profile smoke"   measure, judge and write the report
#   make test                             lint, types and tests
#   make lint                             lint and types alone
#   make bench                            what the harness costs, into docs/benchmarks.md
#   make screenshots RUN=runs/NAME        the pictures of docs/screenshots, from the report of a run

PYTHON ?= python3
ARGS ?=
VENV := .venv
INSTALLED := $(VENV)/.installed
COMPILED := $(VENV)/.compiled
# As root, Debian's packages fill the two gaps that pip cannot: ensurepip and a browser.
APT_INSTALL := apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y

.PHONY: nightly test lint bench chromium screenshots clean

# The verdict is the report's to tell, so 1 (a limit exceeded) and 3 (incomplete) are successes
# here. `accuracy nightly` itself prints verdict and path last, and exits with the verdict.
nightly: $(COMPILED)
	@$(VENV)/bin/accuracy nightly $(if $(wildcard runs/.),--history runs) $(ARGS) || case $$? in 1|3) ;; *) exit $$? ;; esac

# A file's tests share what they run once, so files and not tests are dealt to the two processes.
test: lint chromium
	$(VENV)/bin/pytest --numprocesses 2 --dist loadfile

lint: $(INSTALLED)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

bench: $(COMPILED)
	$(VENV)/bin/python -m bench --out docs/benchmarks.md $(ARGS)

# --no-build-isolation: else pip would build with the newest setuptools and not with the pinned one.
$(INSTALLED): pyproject.toml constraints.txt accuracy/_compiled.c $(wildcard accuracy/*.h)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is $$($(PYTHON) --version 2>&1), wanted Python >= 3.11: try make PYTHON=python3.11" >&2; \
	  exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { [ "$$(id -u)" = 0 ] && $(APT_INSTALL) python3-venv; } || { \
	  echo "$(PYTHON) cannot make virtual environments: install Debian's python3-venv" >&2; exit 2; }
	@[ -x $(VENV)/bin/pip ] || $(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install --quiet --constraint constraints.txt setuptools
	CFLAGS="-Wall -Wextra -Wconversion -Werror $$CFLAGS" \
	  $(VENV)/bin/pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	@touch $@

# Python keeps what it compiled, unless told not to, as many containers do: then every start compiles a hundred modules.
$(COMPILED): $(INSTALLED) cli.py $(shell find accuracy commands reports -name '*.py')
	@$(VENV)/bin/python -m compileall -q cli.py accuracy commands reports
	@touch $@

chromium:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && $(APT_INSTALL) chromium fonts-liberation; } || { \
	  echo "the browser tests need chromium: install Debian's package chromium" >&2; exit 2; }

RUN ?=
screenshots: $(INSTALLED) chromium
	$(VENV)/bin/python docs/make_screenshots.py $(RUN)

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info accuracy/*.so
