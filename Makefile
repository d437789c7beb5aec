# Thin: tools/dev.py does the work, on Windows too (python tools/dev.py VERB).
PYTHON ?= python3

demo: ## convert a small real model and talk to it
test: ## set up, then every test
lint: ## style, types, import rules
build: ## the engine only
bench: ## kernels, then the model of the demo
clean: ## remove what the others made

demo test lint build bench clean:
	@$(PYTHON) tools/dev.py $@

.PHONY: demo test lint build bench clean
