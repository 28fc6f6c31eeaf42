# Two commands: `make up` runs the factory on real input, `make test` passes every test. Both set up what they need.
.DEFAULT_GOAL := help
BIN := .venv/bin
UP_FLAGS ?=
TEST_FLAGS ?=

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install into .venv
	@./setup up

up: ## from documents to released models that answer; UP_FLAGS="--once --home DIR"
	@./setup up
	@$(BIN)/tokenworks up $(UP_FLAGS)

dev: ## install what tests and benchmarks need as well
	@./setup dev

lint: dev ## style, types, and the one-way rule between rooms
	@$(BIN)/ruff check --no-cache src tests benchmarks
	@$(BIN)/ruff format --check src tests benchmarks
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fast: ## the request path in machine code, for servers with much to do; needs a C compiler
	@./setup up
	@$(BIN)/python -m pip install -q -e ".[compile]"
	@$(BIN)/tokenworks compile

test: dev ## every test, in parallel
	@$(BIN)/python -m pytest -n 2 --dist loadgroup $(TEST_FLAGS)

cover: dev ## the same with a coverage figure; slower
	@$(BIN)/python -m pytest -n 2 --dist loadgroup --cov --cov-report=term:skip-covered $(TEST_FLAGS)

chaos: dev ## the request path under KILLS=200 kills of gateway and engine, and what else can break
	@KILLS=$${KILLS:-200} $(BIN)/python -m pytest -n 0 -s tests/chaos/test_request_path.py

bench: ## every benchmark beside its peer; results in benchmarks/results/
	@./setup bench
	@for file in benchmarks/*.py; do case $$file in */_*) ;; *) echo "== $$file"; $(BIN)/python $$file || exit 1 ;; esac; done

docs: dev ## regenerate the reference pages from the code
	@$(BIN)/python -m tokenworks.cli.reference docs/reference

.PHONY: help setup up fast dev lint test cover chaos bench docs
