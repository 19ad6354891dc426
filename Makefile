# taskctl: `make demo` shows it, `make test` proves it.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Tests wait more than they work: four at a time keep two cores busy.
WORKERS ?= 4
TEST_STAMP := $(VENV)/.installed-test
DOCS_STAMP := $(VENV)/.installed-docs

# Programs that tests start find byte code, as users have it; none is left beside the sources.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/$(VENV)/pycache

.PHONY: help demo test soak lint types bench interop pictures docs servers install-extras uninstall-extras clean

help:
	@echo "make demo    set up, and watch tasks run on the embedded broker (no server needed)"
	@echo "make test    set up, and pass every test (installs servers and shells where they lack)"
	@echo "make lint    ruff and mypy only"
	@echo "make soak    slow endurance tests"
	@echo "make bench   benchmarks beside Celery"
	@echo "make interop write docs/interop.md: clients and workers of Celery and taskctl, crosswise"
	@echo "make pictures    draw docs/pictures/ anew, from real nodes"
	@echo "make docs    write the site of docs/ to build/docs"
	@echo "make install-extras PREFIX=/usr/local    manual pages and shell completions; also uninstall-extras"
	@echo "make clean   remove what the others made"

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found: set PYTHON=/path/to/python3.11 or newer"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "error: $(PYTHON) cannot make virtual environments: install its venv package (python3.11-venv)"; exit 1; }

$(STAMP): pyproject.toml | $(VENV)/bin/python
	@echo "installing taskctl into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(TEST_STAMP): pyproject.toml | $(VENV)/bin/python
	@echo "installing taskctl and its test tools into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $(STAMP) $@

demo: $(STAMP)
	@$(BIN)/python examples/scan/demo.py

servers:
	@sh .ci/servers

test: $(TEST_STAMP) servers lint types
	@$(BIN)/python -m pytest -q -m "not soak" -n $(WORKERS) --dist loadfile \
		--no-loadscope-reorder

soak: $(TEST_STAMP) servers
	@$(BIN)/python -m pytest -q -m soak

lint: $(TEST_STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .

types: $(TEST_STAMP)
	@sh .ci/types $(BIN)

bench: $(TEST_STAMP) servers
	@$(BIN)/python -m benchmarks

interop: $(TEST_STAMP) servers
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile -p tests.interop.matrix.table \
		--interop-table docs/interop.md tests/interop/test_matrix_*.py

pictures: $(STAMP)
	@$(BIN)/python docs/pictures.py

$(DOCS_STAMP): pyproject.toml | $(VENV)/bin/python
	@echo "installing taskctl and the tools of its documentation into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $@

docs: $(DOCS_STAMP)
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -b html docs build/docs
	@echo "build/docs/index.html"

PREFIX ?= /usr/local
SHARE := $(DESTDIR)$(PREFIX)/share
EXTRAS = bash-completion/completions/taskctl.bash zsh/site-functions/_taskctl fish/vendor_completions.d/taskctl.fish

install-extras:
	@install -d $(addprefix $(SHARE)/,man/man1 man/man5 man/man7 $(dir $(EXTRAS)))
	@for number in 1 5 7; do install -m 644 man/*.$$number $(SHARE)/man/man$$number/; done
	@install -m 644 completions/taskctl.bash $(SHARE)/bash-completion/completions/taskctl.bash
	@install -m 644 completions/_taskctl $(SHARE)/zsh/site-functions/_taskctl
	@install -m 644 completions/taskctl.fish $(SHARE)/fish/vendor_completions.d/taskctl.fish
	@echo "installed manual pages and completions below $(SHARE)"

uninstall-extras:
	@for page in man/*; do rm -f $(SHARE)/man/man$${page##*.}/$${page#man/}; done
	@rm -f $(addprefix $(SHARE)/,$(EXTRAS))

clean:
	rm -rf $(VENV) build dist *.egg-info .taskctl .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
