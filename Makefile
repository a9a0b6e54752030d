# make book    set up, execute all chapters, build the book
# make test    set up, build the book at the smoke parameters, run the tests
# make check   the same with the tests that take long
# make lint    ruff: style and likely bugs
# SET=smoke|cpu|gpu|paper chooses the parameters of `make book` (workflow/parameters.yml)

SET ?= cpu
# the address of the repository, https://github.com/..., for the book's buttons; the publishing workflow gives it
REPOSITORY ?=
PYTHON ?= $(shell for v in 3.11 3.12 3.13; do python$$v -c '' 2>/dev/null && echo python$$v && break; done)
CORES ?= $(shell getconf _NPROCESSORS_ONLN)
SNAKEMAKE = snakemake --cores $(CORES) --quiet host --rerun-incomplete
PYTEST = python -m pytest $(if $(SLOW),-m "slow or not slow")
OF_BOOK = tests/book tests/test_workflow.py

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export VIRTUAL_ENV := $(CURDIR)/.venv
# TensorFlow leaves oneDNN off on AMD processors, where training then takes 2 to 6 times as long
export TF_ENABLE_ONEDNN_OPTS := 1
unexport PYTHONPATH

.PHONY: help book test check smoke package lint setup notebooks lock unlock clean

help:
	@sed -n '1,5s/^# //p' Makefile

book: setup
	$(SNAKEMAKE) --config set=$(SET) repository=$(REPOSITORY)
	@echo "The book: $(CURDIR)/_build/$(SET)/site/_build/html/index.html"

# the pages' tests wait for the book, which leaves a processor idle now and then: those of the package run beside it
test: setup
	$(MAKE) --no-print-directory -j 2 smoke package
	$(PYTEST) -n 2 --dist loadfile $(OF_BOOK)

check: setup
	$(MAKE) --no-print-directory test SLOW=1

smoke: setup
	@mkdir -p _build
	$(SNAKEMAKE) --config set=smoke > _build/smoke.log 2>&1 || { tail -n 60 _build/smoke.log; exit 1; }

package: setup
	$(PYTEST) -n 2 --dist loadfile $(OF_BOOK:%=--ignore=%)

lint: setup
	ruff check .
	ruff format --check .

setup: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed; install one, or say where: make PYTHON=/path/to/python3"; exit 1; }
	test -x .venv/bin/pip || $(PYTHON) -m venv --clear .venv || { rm -rf .venv; exit 1; }
	.venv/bin/python -m pip install --quiet --require-hashes -r requirements.lock
	.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# the notebooks that Colab opens: the chapters without outputs
notebooks: setup
	python workflow/twins.py

# needs uv (https://docs.astral.sh/uv)
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --all-extras pyproject.toml -o requirements.lock

# after a kill that left no time to tidy up ("directory cannot be locked")
unlock: setup
	$(SNAKEMAKE) --config set=$(SET) --unlock

clean:
	rm -rf _build runs .snakemake
