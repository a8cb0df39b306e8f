# Two commands are enough: `make run` and `make test`. `make help` lists the others.
# Settings come from the environment, from `make run PORT=9000`, or from .env (see .env.example).

# platform/ is a folder on the path, never a package (docs/adr/0001).
export PYTHONPATH := $(CURDIR)/platform:$(CURDIR)
# Each process would compile all of the project anew: five seconds of each start, ten of each run of the tests.
unexport PYTHONDONTWRITEBYTECODE
# The Python that the virtual environment is made with: 3.11 or newer.
PYTHON ?= python3
VENV := $(CURDIR)/.venv/bin
BOOTSTRAP = @command -v $(PYTHON) >/dev/null || { echo "Atrium needs Python 3.11 or newer: install python3 and python3-venv."; exit 1; }; \
	exec $(PYTHON) scripts/bootstrap.py

.DEFAULT_GOAL := help
.PHONY: run test quick check format lint types layers migrations-check messages drill bench install locks clean help

run: ## install what this machine needs, start everything, print address, sign-ins and keys
	$(BOOTSTRAP) --port
	@exec $(VENV)/python -m launcher up

test: ## install, then lint, types, layers, migrations and every test
	$(BOOTSTRAP) --dev
	@exec $(VENV)/python scripts/checks.py all

quick: ## the same without engine, stack, browser and what is slow: about two minutes
	$(BOOTSTRAP) --dev
	@exec $(VENV)/python scripts/checks.py quick

check: ## everything that is not a test
	$(BOOTSTRAP) --dev
	@exec $(VENV)/python scripts/checks.py static

format: ## rewrite the code in the project's format
	@$(VENV)/ruff check --fix --quiet . ; exec $(VENV)/ruff format .

lint: ## format and lint, without changing anything
	@exec $(VENV)/python scripts/checks.py format lint templates spelling catalogues

types: ## mypy
	@exec $(VENV)/python scripts/checks.py types

layers: ## import-linter
	@exec $(VENV)/python scripts/checks.py layers

migrations-check: ## no model change without its migration
	@exec $(VENV)/python scripts/checks.py migrations

messages: ## bring new sentences into the catalogues (needs GNU gettext), then compile them
	@$(VENV)/python scripts/catalogues.py extract
	@exec $(VENV)/python scripts/catalogues.py compile

drill: ## money and streams while processes are killed at random: minutes, on a quiet machine
	$(BOOTSTRAP) --dev
	@exec $(VENV)/python scripts/checks.py drills

bench: ## what the platform adds to a request, measured against a running one (make run)
	@exec $(VENV)/python benchmarks/overhead.py

install: ## the virtual environment with everything, tools of development included
	$(BOOTSTRAP) --dev

locks: ## resolve requirements*.in anew (UPGRADE=1: to the newest versions)
	$(BOOTSTRAP) --dev
	@exec $(VENV)/python scripts/locks.py $(if $(UPGRADE),--upgrade)

clean: ## remove what the build made; data (ATRIUM_HOME) stays
	@rm -rf .venv .venv.lock .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis test-results
	@find . -name __pycache__ -not -path './node_modules/*' -prune -exec rm -rf {} +

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null || grep '##' $(MAKEFILE_LIST)
