# Everything a newcomer needs: `make demo` and `make test`. Each target sets up the venv it runs in.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
ARGS   ?=
PROFILE ?= soak
# Tests keep nothing, and make thousands of databases: in memory that is ten times as fast, where there is enough of it.
MEMORY  := $(shell test -w /dev/shm && df -Pk /dev/shm | awk 'NR == 2 && $$4 > 4000000 { print "/dev/shm" }')
PYTEST  := $(if $(MEMORY),TMPDIR=$(MEMORY) )$(BIN)/pytest -n 2 --dist loadgroup

.DEFAULT_GOAL := help
.PHONY: help demo scenario planes-demo test unit soak lint bench vectors clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

$(STAMP): pyproject.toml
	@bash tools/setup-venv.sh "$(PYTHON)" "$(VENV)"
	@touch $(STAMP)

demo: $(STAMP) ## the abuses, tried and refused (ARGS="--vault", ARGS="--members 1000")
	@$(BIN)/vaultstore demo $(ARGS)

scenario: $(STAMP) ## the exposé replayed, abuse by abuse, promise by promise (ARGS="--vault", ARGS="--data FOLDER")
	@$(BIN)/vaultstore scenario $(ARGS)

planes-demo: $(STAMP) ## a policy applied to a real OpenBao and PostgreSQL; drifts planted and found (ARGS=--whole)
	@$(BIN)/python -m vaultstore.members.demo.planes $(ARGS)

test: $(STAMP) ## every test but the soak, real OpenBao and PostgreSQL included
	@$(PYTEST) -m "not soak" $(ARGS)

unit: $(STAMP) ## only what needs no server
	@$(PYTEST) -m "not soak and not integration" $(ARGS)

soak: $(STAMP) ## the long forms: generated policies, stateful sessions, kills (PROFILE=bounded for fewer)
	@HYPOTHESIS_PROFILE=$(PROFILE) $(PYTEST) -m "soak or hypothesis" $(ARGS)

lint: $(STAMP) ## ruff, mypy --strict, import-linter
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

bench: $(STAMP) ## ratios against plain SQLAlchemy and its peers, side by side
	@$(BIN)/python -m benchmarks $(ARGS)

vectors: $(STAMP) ## write tests/vectors/*.json anew
	@for generator in tests/vectors/generate*.py; do $(BIN)/python $$generator; done

clean: ## remove the venv and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
