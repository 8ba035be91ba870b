# make run    install everything into .venv and train on the bundled data set
# make test   every test
# make check  format, lint, types, import rules
# EXTRAS=dev leaves out the large libraries for pretrained encoders (about 6 GB).

.DEFAULT_GOAL := run
.PHONY: run test check format clean

EXTRAS ?= deep,dev
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
INSTALLED := .venv/.installed-$(EXTRAS)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

run: $(INSTALLED)
	.venv/bin/earmark train examples/piano-touch

test: $(INSTALLED)
	.venv/bin/python -m pytest

check: $(INSTALLED)
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: $(INSTALLED)
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

clean:
	rm -rf .venv

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Earmark needs Python 3.11 or newer: install python3 (Debian: apt-get install python3 python3-venv)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Earmark needs Python's venv module: apt-get install python3-venv"; exit 1; }
	@test "$$(uname)" != Linux || $(PYTHON) -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null || \
		{ echo "LightGBM needs libgomp.so.1: apt-get install libgomp1"; exit 1; }
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv (some minutes the first time) ..."
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@
