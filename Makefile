# make demo: from nothing to a PDF.   make test: the whole test suite.   make check: what CI runs.
# A machine without a GPU can have the small CPU build of torch: UV_TORCH_BACKEND=cpu make demo

PYTHON ?= python3
UV := $(or $(shell command -v uv 2>/dev/null),.uv/bin/uv)
BIN := .venv/bin
READY := .venv/.ready
BROWSER := .venv/.browser
CLUSTER := .venv/.cluster

.PHONY: demo test check lint types docs format setup clean nih-chexnet nih-621 pneumoniamnist chexalign chexalign-losses chexalign-rates pages

DATA ?= $(or $(CXROBUST_DATA),../shared/data)

demo: setup
	$(BIN)/cxrobust demo --out demo

test: setup $(BROWSER) $(CLUSTER)
	@# As in the set-up: else each of the processes that tests start would compile our own code anew.
	@test -z "$$PYTHONDONTWRITEBYTECODE" || $(BIN)/python -m compileall -q cxrobust
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: lint types docs test

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: setup
	$(BIN)/mypy

docs: setup
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

CHEXNET := examples/nih-chexnet

nih-chexnet: setup
	$(BIN)/cxrobust run $(CHEXNET)/next.toml --data-root $(DATA) --out $(CHEXNET)/out/next
	$(BIN)/cxrobust run $(CHEXNET)/study.toml --data-root $(DATA)
	$(BIN)/cxrobust compare $(CHEXNET)/out $(CHEXNET)/out/next --out $(CHEXNET)/out/compared

pneumoniamnist: setup
	$(BIN)/python examples/pneumoniamnist/train.py --data-root $(DATA)
	$(BIN)/cxrobust run examples/pneumoniamnist/study.toml --data-root $(DATA)

nih-621: setup
	$(BIN)/python examples/nih-621/train.py --data-root $(DATA)
	$(BIN)/cxrobust run examples/nih-621/study.toml --data-root $(DATA)

CHEXALIGN := examples/chexalign-mini

chexalign: setup
	$(BIN)/python $(CHEXALIGN)/write_references.py
	$(BIN)/python $(CHEXALIGN)/train_sft.py
	$(BIN)/cxrobust preferences $(CHEXALIGN)/study.toml --regime sft
	$(BIN)/python $(CHEXALIGN)/train_dpo.py --judge labeler
	$(BIN)/python $(CHEXALIGN)/train_dpo.py --judge overlap
	$(BIN)/python $(CHEXALIGN)/train_dpo.py --judge people
	$(BIN)/cxrobust run $(CHEXALIGN)/study.toml
	$(BIN)/python $(CHEXALIGN)/figure.py
	$(BIN)/python $(CHEXALIGN)/wording.py

chexalign-losses: chexalign
	$(BIN)/python $(CHEXALIGN)/train_dpo.py --judge labeler --learning-rate 3e-4
	$(BIN)/python $(CHEXALIGN)/train_dpo.py --judge labeler --learning-rate 3e-4 --loss ipo
	$(BIN)/python $(CHEXALIGN)/train_dpo.py --judge labeler --learning-rate 3e-4 --loss length-normalised
	$(BIN)/python $(CHEXALIGN)/train_kto.py --judge labeler
	$(BIN)/cxrobust run $(CHEXALIGN)/study-losses.toml --out $(CHEXALIGN)/out/losses

chexalign-rates: chexalign-losses
	@set -e; for rate in 3e-4 1e-4; do \
	  for judge in labeler overlap people; do $(BIN)/python $(CHEXALIGN)/train_dpo.py --judge $$judge --learning-rate $$rate; done; \
	  $(BIN)/python $(CHEXALIGN)/train_kto.py --judge labeler --learning-rate $$rate; done
	$(BIN)/python $(CHEXALIGN)/unseen.py

pages: demo $(BROWSER)
	$(BIN)/python tools/pages.py demo docs/_static

setup: $(READY)

$(READY): pyproject.toml tools/ensure-pango.sh | $(UV)
	$(UV) venv --quiet --allow-existing --python '>=3.11' .venv
	$(UV) pip install --quiet --python $(BIN)/python --editable '.[all,dicom]' --group dev --group examples
	sh tools/ensure-pango.sh $(BIN)/python
	@# Where Python may keep no bytecode as it goes, each process would compile torch and its kin anew.
	@test -z "$$PYTHONDONTWRITEBYTECODE" || $(BIN)/python -m compileall -q -j 0 .venv/lib > /dev/null || true
	@touch $@

$(BROWSER): tools/ensure-chromium.sh $(READY)
	sh tools/ensure-chromium.sh
	@touch $@

$(CLUSTER): tools/ensure-slurm.sh $(READY)
	sh tools/ensure-slurm.sh
	@touch $@

.uv/bin/uv:
	($(PYTHON) -m venv .uv && .uv/bin/python -m pip install --quiet uv) \
	  || $(PYTHON) -m pip install --quiet --target .uv uv \
	  || { echo "uv cannot be installed: install it (https://docs.astral.sh/uv), or pip and venv of $(PYTHON)"; exit 1; }

clean:
	rm -rf .venv .uv demo docs/_build examples/*/out examples/*/checkpoints examples/*/references .mypy_cache .ruff_cache .pytest_cache
