# The two commands: `make hil` runs the boards, `make test` checks the harness itself.
SHELL := /bin/bash
.DEFAULT_GOAL := help

.PHONY: help hil hil-all test lint types unit bench setup-hil setup-test doctor clean clean-state

help:  ## say what there is
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup-hil:
	@scripts/setup hil

setup-test:
	@scripts/setup test

hil: setup-hil  ## the main job: boards found on USB, flashed, online at the local cloud, tested, reported (ARGS="-k publish --board argon")
	@echo "hil: testing the boards of rigs/virtual.toml; the report goes to reports/"
	@scripts/run-hil --fast $(ARGS)

hil-all: setup-hil  ## all of it, and boards come and go as slowly as behind a real kernel
	@echo "hil: testing the boards of rigs/virtual.toml at a real kernel's pace; the report goes to reports/"
	@scripts/run-hil $(ARGS)

test: setup-test lint types unit  ## lint, types and the harness's own tests

lint:
	@echo "test: ruff"; .venv/bin/ruff format --check --quiet . && .venv/bin/ruff check --quiet .

types:
	@echo "test: mypy --strict"; .venv/bin/mypy

unit:
	@echo "test: the harness's own tests"; .venv/bin/pytest -p no:hil -n 3 --dist worksteal $(ARGS)

bench: setup-test  ## all benchmarks, one table each (ARGS="codec ota" for some)
	@.venv/bin/python -m benchmarks $(ARGS)

doctor: setup-hil  ## what is missing on this machine, and the command that mends it
	@.venv/bin/hil doctor

clean:  ## remove reports, images and caches; the cloud's keys, registrations, the boards' memory and the history of runs stay
	@find reports -mindepth 1 -maxdepth 1 ! -name .gitignore ! -name history.jsonl -exec rm -rf {} +; rm -rf .hil/images .pytest_cache .mypy_cache .ruff_cache .hypothesis build

clean-state:  ## remove the cloud's keys, registrations and the boards' memory too; says first what will be lost
	@scripts/clean-state $(if $(YES),--yes)

