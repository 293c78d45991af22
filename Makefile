# The whole developer interface. Each target is a script or two; `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help setup build demo check test lint format docs fuzz conformance loom soak soak-web chaos clean \
        bench bench-loop bench-echo bench-idle bench-tls bench-observe bench-web bench-asgi bench-https bench-ws \
        bench-http2 bench-latency bench-jobs bench-growth

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1#/p' $(MAKEFILE_LIST) | awk -F'#' '{ printf "  make %-12s %s\n", $$1, $$2 }'

demo: build ## set up, build and run the example app with worker, scheduler and dashboard
	@scripts/demo

test: ## set up what the tests need and run all of them, on every Python found
	@scripts/test

check: build ## the fast tests on the main Python (under a minute once built)
	@scripts/check

lint: ## formatting, clippy, ruff, mypy, stubtest and the house rules, warnings as errors
	@scripts/lint

format: setup ## format Rust and Python
	@cargo fmt --all
	@.venv/bin/ruff format --quiet .
	@.venv/bin/ruff check --quiet --fix .

setup: ## make .venv with the development tools and an editable Pelton
	@scripts/setup

build: setup ## build the release extension into python/pelton
	@scripts/build

docs: build ## check the links of the documents and run the code blocks of the tutorial
	@.venv/bin/python -m pytest -q tests/docs

conformance: build ## run the peers' own suites (asyncio, ASGI, ...) against ours
	@scripts/conformance

loom: ## every interleaving of the threads that meet at the loop's bell (seconds, once built)
	@scripts/loom

soak: build ## 10 000 connections for two minutes: nothing may leak or be lost; ARGS for more
	@scripts/soak $(ARGS)

soak-web: build ## slow, rude and dying clients among honest ones for a minute; ARGS for more
	@scripts/soak-web $(ARGS)

chaos: build ## 10 000 jobs while workers and broker are killed; ARGS="--broker redis" for another
	@.venv/bin/python -m tests.chaos.run $(ARGS)

fuzz: ## fuzz the parsers for FUZZ_SECONDS each (default 60)
	@scripts/fuzz

bench: build ## all benchmarks beside the peers; QUICK=1 for a smoke run; ARGS for more
	@scripts/bench loop echo idle tls observe web asgi https ws http2 latency jobs

bench-loop bench-echo bench-idle bench-tls bench-observe bench-web bench-asgi bench-https bench-ws bench-http2 bench-latency bench-jobs bench-growth: build ## one benchmark
	@scripts/bench $(@:bench-%=%)

clean: ## remove what was built and installed here
	rm -rf target .venv .venv-3.* bench/.venv* python/pelton/_core*.so
