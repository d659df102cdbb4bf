# `make demo` sets up and runs the main job on real data; `make test` sets up and runs all tests.

GRAFTWORK := target/release/graftwork
.DEFAULT_GOAL := help

.PHONY: help setup build demo test parity

help:
	@echo "make demo    set up, then run experiments/digits.toml on real data and show its tables"
	@echo "make test    set up, then run all tests"
	@echo "make parity  set up, then compare networks with torchvision (600 MB of Python packages, once)"
	@echo "make build   set up, then build target/release/graftwork"
	@echo "make setup   get LibTorch (once, into the user's cache folder)"

setup:
	@scripts/setup-libtorch

build: setup
	@echo "build: target/release/graftwork and its engine (the first time takes some minutes)"
	@cargo build --release --locked --workspace --quiet

demo: build
	@$(GRAFTWORK) data fetch mnist optdigits
	@$(GRAFTWORK) run experiments/digits.toml
	@$(GRAFTWORK) table digits

test: setup
	@echo "test: building and running all tests (the first time takes some minutes)"
	@cargo test --locked --workspace

parity: build
	@python=$$(tests/parity/environment) && export PYTHONDONTWRITEBYTECODE=1 \
		&& "$$python" tests/parity/reference.py --check \
		&& "$$python" tests/parity/programs.py --check && "$$python" tests/parity/exchange.py $(GRAFTWORK)
