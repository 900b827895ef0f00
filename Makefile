# Everything is done by a script of the standard library, so that it also runs where there is no make:
#   python3 scripts/run.py demo
PYTHON ?= python3
SEED ?=
ARGS ?=
export SEED

.PHONY: demo test check lint bench soak load kill fuzz bare page page-test

demo:
	@$(PYTHON) scripts/run.py demo

test:
	@$(PYTHON) scripts/run.py test -- $(ARGS)

check:
	@$(PYTHON) scripts/run.py check -- $(ARGS)

lint:
	@$(PYTHON) scripts/run.py lint

bench:
	@$(PYTHON) scripts/run.py bench -- $(ARGS)

soak:
	@$(PYTHON) scripts/run.py soak -- $(ARGS)

page:
	@$(PYTHON) scripts/run.py page

page-test:
	@$(PYTHON) scripts/run.py page-test -- $(ARGS)

load:
	@$(PYTHON) scripts/run.py load -- $(ARGS)

kill:
	@$(PYTHON) scripts/run.py kill -- $(ARGS)

fuzz:
	@$(PYTHON) scripts/run.py fuzz -- $(ARGS)

bare:
	@$(PYTHON) scripts/run.py bare -- $(ARGS)
