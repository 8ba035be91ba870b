# make run        install everything into .venv and open the workbench on the bundled data set
# make test       every test but the long ones
# make test-slow  kills and long browser stories
# make check      format, lint, types, import rules
# make bench      measure, and write bench/bench.md (about 15 minutes)
# make scores     search on the real sets, and write bench/scores.md (hours; a stopped script resumes)
# make offline    add the speaker encoder that ships its weights inside its package (16 MB)
# make browser    install Chromium for the browser tests, where that can be done
# EXTRAS=dev leaves out the large libraries for pretrained encoders (about 6 GB).

.DEFAULT_GOAL := run
.PHONY: run test test-slow check bench scores browser offline format clean

EXTRAS ?= deep,dev
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
INSTALLED := .venv/.installed-$(EXTRAS)
OFFLINE := .venv/.installed-offline
export PIP_DISABLE_PIP_VERSION_CHECK := 1

run: $(INSTALLED)
	.venv/bin/earmark app

test: $(INSTALLED) $(OFFLINE)
	.venv/bin/python -m pytest -m "not slow" -n auto --dist loadfile --no-loadscope-reorder

test-slow: $(INSTALLED) $(OFFLINE)
	.venv/bin/python -m pytest -m slow

check: $(INSTALLED)
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: $(INSTALLED)
	.venv/bin/python -m bench

scores: $(INSTALLED)
	.venv/bin/python -m bench.scores

offline: $(OFFLINE)

browser:
	@command -v chromium >/dev/null && exit 0; \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; then exit 0; \
	else echo "Chromium could not be installed (Debian: apt-get install chromium); browser tests are skipped without it"; fi

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

# Its metadata asks for packages that need a compiler or stand in the way, so it is no extra of this project.
$(OFFLINE): $(INSTALLED)
	.venv/bin/python -m pip install --quiet --no-deps Resemblyzer==0.1.4 webrtcvad-wheels==2.0.14.post1
	@touch $@
