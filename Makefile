# The front door. `make help` lists what there is.

PYTHON ?= python3
ARGS ?=
export PYTHON

VENV := .venv
READY := $(VENV)/.ready
BUILT := build/.built
# nbgrader looks for its helpers on PATH.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

LABS := $(shell ls labs 2>/dev/null | sed -n 's/^lab\([0-9]*\)_.*/\1/p')
OPEN := $(LABS:%=lab%)
CHECK := $(LABS:%=lab%-check)
SOLUTION := $(LABS:%=lab%-solution)

.PHONY: help
help: ## say what there is
	@sed -n 's/^\([a-z$$][^:]*\):.*## \(.*\)/\1~\2/p' $(MAKEFILE_LIST) | \
	sed 's/$$(OPEN)/labN/; s/$$(CHECK)/labN-check/; s/$$(SOLUTION)/labN-solution/' | \
	awk -F '~' '{ printf "make %-14s %s\n", $$1, $$2 }'
	@echo "The labs (N): $(LABS)"

.PHONY: demo
demo: $(BUILT) ## grade a sample class, write build/demo/ (ARGS="--lab lab1_autodiff": one lab)
	@$(VENV)/bin/autograder demo --out build/demo $(ARGS)

.PHONY: $(OPEN) $(CHECK) $(SOLUTION)
$(OPEN): lab%: $(BUILT) ## copy the notebook to work/ on first use, open it (LAB_BROWSER=0: no browser)
	@$(VENV)/bin/autograder lab $*

$(CHECK): lab%-check: $(BUILT) ## run the attempts in the notebook in work/, print the points
	@$(VENV)/bin/autograder lab $* --check

$(SOLUTION): lab%-solution: $(BUILT) ## execute the reference notebook, print the points
	@$(VENV)/bin/autograder lab $* --solution

PYTEST := $(VENV)/bin/python -m pytest -n 2
.PHONY: test test-quick test-thorough
test test-quick test-thorough: export OMP_NUM_THREADS := 1
test: $(READY) ## all tests but the long repetitions (ARGS="-k ring": options for pytest)
	@$(PYTEST) -m "not thorough" $(ARGS)

test-quick: $(READY) ## the tests that are done in two minutes
	@$(PYTEST) -m "not slow and not thorough" $(ARGS)

test-thorough: $(READY) ## all tests, the long repetitions too
	@$(PYTEST) $(ARGS)

.PHONY: bench
bench: $(BUILT) ## run every benchmark in full and keep the results (minutes)
	@for file in $(filter-out benchmarks/common.py,$(wildcard benchmarks/*.py)); do \
	    $(VENV)/bin/python $$file || exit 1; done

# On a machine with a GPU, with what is installed there: .venv is not needed.
.PHONY: gpu-check
gpu-check: ## run what can use a GPU on one, write build/gpu/report.md (without one: skipped)
	@for python in $(VENV)/bin/python $(PYTHON); do \
	    if $$python -c "import cupy, torch" 2>/dev/null; then \
	        PYTHONPATH=src exec $$python -m aisys.cuda.gpu_check build/gpu; fi; done; \
	echo "skipped: no Python here has CuPy and PyTorch (pip install 'cupy-cuda13x[ctk]' brings CuPy)"

.PHONY: systems
systems: $(READY) ## add all of Ray, MPI, cupy and the tools of the lectures to .venv
	@bash .ci/setup systems

.PHONY: horovod
horovod: $(READY) ## build Horovod twice, as it is and with Lab 4's patch, in build/horovod (minutes, once)
	@PYTHONPATH=src $(VENV)/bin/python -m aisys.allreduce.horovod.building

.PHONY: build
build: $(READY) ## build the notebooks and the recorded outcomes from texts and references
	@$(VENV)/bin/autograder build
	@mkdir -p build && touch $(BUILT)

.PHONY: environment
environment: $(READY) ## make .venv and nothing else

$(READY): constraints.txt pyproject.toml .ci/setup
	@bash .ci/setup
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
.PHONY: $(READY)
endif

$(BUILT): $(READY) $(shell find labs src/aisys autograder -type f -not -name '*.pyc' -not -path '*/.*' 2>/dev/null)
	@$(VENV)/bin/autograder build
	@mkdir -p $(@D) && touch $@
