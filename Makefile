# One virtual environment, made from the locked requirements; everything else is a target on top of it.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SOURCES := operator agent_runtime dev tests benchmarks

.PHONY: help venv demo demo-down test test-unit test-runtime test-controlplane test-chart test-e2e campaign walks churn mutants bench-operator bench-runtime check generate lock clean

help: ## This list
	@grep -hE '^[a-z0-9 -]+:.*##' $(MAKEFILE_LIST) | \
	  awk -F ':.*## ' '{count = split($$1, names, " "); for (i = 1; i <= count; i++) printf "  %-18s %s\n", names[i], $$2}'

$(READY): requirements/dev.txt pyproject.toml
	@echo "== virtual environment in $(VENV) (a minute or two, once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.13"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

venv: $(READY) ## The virtual environment, with agentctl in .venv/bin

demo: $(READY) ## From nothing to an agent's answer on a kind cluster
	@$(BIN)/python -m dev.demo up

demo-down: $(READY) ## Remove all that the demo made
	@$(BIN)/python -m dev.demo down

test: $(READY) ## Every tier that this machine can run
	@$(BIN)/python -m dev.test

test-unit test-runtime test-controlplane test-chart test-e2e: test-%: $(READY) ## This tier alone
	@$(BIN)/python -m dev.test $*

campaign: $(READY) ## Every fault at every write and event of an AgentService's life, then the walks; CASE='life: siv-2' or EVERY=20 for some faults
	@bad=0; PYTHONPATH=.:operator $(BIN)/python -m tests.controlplane.fault_campaign $(if $(CASE),'$(CASE)') $(if $(EVERY),--every $(EVERY)) || bad=1; \
	$(if $(CASE)$(EVERY),,PYTHONPATH=.:operator $(BIN)/python -m tests.controlplane.walk_campaign || bad=1;) exit $$bad

walks: $(READY) ## Random walks through specs: the same end by any way; WALKS=SEED for those of a seed, WALKS=FILE for one
	@PYTHONPATH=.:operator $(BIN)/python -m tests.controlplane.walk_campaign $(WALKS)

churn: $(READY) ## Random walks for an hour while operators die and the API server is restarted; MINUTES=5 for less, SEED=4711 for the same again
	@PYTHONPATH=.:operator $(BIN)/python -m tests.controlplane.churn $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

mutants: $(READY) ## Break every promise on purpose and see its test fail; MUTANT='words' for some of them
	@PYTHONPATH=.:operator $(BIN)/python -m tests.mutants $(if $(MUTANT),'$(MUTANT)')

bench-operator: $(READY) ## Measure the operator against its floor and its goals; KEEP=1 writes docs/benchmarks.md
	@PYTHONPATH=.:operator $(BIN)/python -m benchmarks.operator $(if $(KEEP),--keep)

bench-runtime: $(READY) ## Measure the runtime beside LiteLLM's proxy and plain FastAPI; KEEP=1 keeps the raw figures
	@PYTHONPATH=. $(BIN)/python -m benchmarks.runtime $(if $(KEEP),--keep)

check: $(READY) ## Lint, types, imports, spelling, generated files fresh
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python -m dev.generate --check

generate: $(READY) ## Rewrite the generated files
	$(BIN)/python -m dev.generate

lock: $(READY) ## Resolve the newest dependencies into requirements/
	@for extras in "operator" "runtime" "operator runtime dev"; do \
	  name=$${extras##* }; \
	  $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-annotate --no-header $${extras:+$$(printf -- '--extra %s ' $$extras)} pyproject.toml -o requirements/$$name.txt; \
	done
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-annotate --no-header benchmarks/runtime/litellm/pyproject.toml -o benchmarks/runtime/litellm/requirements.txt

clean: ## Remove the virtual environment and caches inside the repository
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
