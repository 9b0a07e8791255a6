# Needs Python 3.11 or newer, git, and a package registry. Everything else goes into .venv and .cache.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
ARGS ?=

.PHONY: help demo test test-cluster lint bench crds requirements clean

help: ## show what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

demo: .venv/runtime ## watch two pull requests come to life (ARGS=--once: then end)
	@$(BIN)/greenroom demo $(ARGS)

test: .venv/development ## linters, types, import contracts, all tests that need no root (ARGS='-k NAME')
	@scripts/test $(ARGS)

test-cluster: .venv/development ## tests against a real Kubernetes control plane and browser (needs Go)
	@scripts/test-cluster $(ARGS)

lint: .venv/development ## linters, types and import contracts only
	@scripts/lint

bench: .venv/development ## benchmarks, as ratios against a peer in the same run
	@$(BIN)/python -m bench $(ARGS)

crds: .venv/runtime ## write deploy/crds anew, from src/greenroom/model/crds
	@rm -f deploy/crds/*.yaml
	@$(BIN)/greenroom crds --folder deploy/crds

requirements: .venv/development ## pin the dependencies of pyproject.toml anew, with hashes
	@for set in build:requirements.txt dev:requirements-dev.txt; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    pyproject.toml --group $${set%%:*} --output-file $${set##*:}; done

clean: ## remove the set-up and the demo's state
	rm -rf .venv .cache .greenroom

.venv/bin/python:
	@scripts/venv

.venv/runtime: requirements.txt pyproject.toml | .venv/bin/python
	@scripts/install requirements.txt && touch $@

.venv/development: requirements-dev.txt pyproject.toml | .venv/bin/python
	@scripts/install requirements-dev.txt && touch $@ .venv/runtime
