# Everything runs in .venv, which tools/bootstrap.py makes from the pins in requirements.txt when a
# target needs it. `make` alone lists the targets.

PYTHON ?= python3
ARGS ?=
VENV_PYTHON = .venv/bin/python
PIN_COMMAND = uv pip compile --universal --python-version 3.11 --group dev pyproject.toml --no-annotate --no-header

# As in tools/bootstrap.py: trust the certificates that the system trusts.
UV_SYSTEM_CERTS ?= 1
export UV_SYSTEM_CERTS

# A Python named by the user must be the one in .venv; the default only has to make it.
ifneq ($(origin PYTHON),file)
EXPLICIT = --explicit
endif

# The server talks to this computer only, and JupyterLab asks nobody for news, updates or extensions.
LAB_FLAGS = --ServerApp.ip=127.0.0.1 --ServerApp.root_dir="$(CURDIR)" \
	--LabApp.news_url=None \
	--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate \
	--LabApp.extension_manager=readonly

.PHONY: help lab pages test proof notebooks mutants bench pins clean env

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile
	@echo
	@echo '  PYTHON=python3.12 chooses the Python; ARGS="..." is handed on, as in'
	@echo '  make lab ARGS="--no-browser --port 8899"'

lab: env ## open JupyterLab on the first notebook
	@exec $(VENV_PYTHON) -m jupyterlab $(LAB_FLAGS) $$([ "$$(id -u)" -ne 0 ] || echo --allow-root) \
		$(ARGS) notebooks/00_start_here.ipynb

pages: env ## write the notebooks, as stored, as pages of HTML that need no kernel and no network, into pages/
	@$(VENV_PYTHON) -m nbconvert --to HTML_offline --output-dir pages $(or $(ARGS),notebooks/*.ipynb)

test: env ## run ruff, mypy and the tests (ARGS go to pytest)
	@$(VENV_PYTHON) -m ruff check
	@$(VENV_PYTHON) -m ruff format --check
	@$(VENV_PYTHON) -m mypy
	@$(VENV_PYTHON) -m pytest -n 2 --dist loadgroup -m "not proof" $(ARGS)

# The laws come first: a report that ARGS ask for is in the end that of the browser.
proof: env ## run what takes longer: laws with 1000 examples, notebooks by nbval, all controls in the browser, many kernels
	@LECTURE_EXAMPLES=1000 $(VENV_PYTHON) -m pytest -n 2 --dist loadgroup -m law $(ARGS)
	@$(VENV_PYTHON) -m pytest -n 2 --dist loadgroup -m "proof or notebook" $(ARGS)

notebooks: env ## execute all notebooks in place (or those named in ARGS)
	@$(VENV_PYTHON) tools/run_notebooks.py $(ARGS)

mutants: env ## flip signs and constants of the formulas, one by one: how many do the tests catch? (45 minutes)
	@$(VENV_PYTHON) tools/mutate.py $(ARGS)

bench: env ## run the benchmarks in tests/benchmarks
	@failed=; found=; \
	for script in tests/benchmarks/bench_*.py; do \
		[ -e "$$script" ] || continue; \
		found=yes; \
		echo "== $$script"; \
		$(VENV_PYTHON) "$$script" $(ARGS) || failed="$$failed $$script"; \
	done; \
	if [ -z "$$found" ]; then echo 'No benchmarks: tests/benchmarks has no bench_*.py.' >&2; exit 1; fi; \
	if [ -n "$$failed" ]; then echo "Failed:$$failed" >&2; exit 1; fi

pins: env ## pin the newest versions of all packages in requirements.txt
	@{ echo '# Exact versions for every supported Python and system. Made by "make pins", which runs:'; \
	echo '#   $(PIN_COMMAND)'; \
	.venv/bin/$(PIN_COMMAND) --quiet; } > requirements.txt.new || { rm -f requirements.txt.new; exit 1; }
	@mv requirements.txt.new requirements.txt

clean: ## remove the environments and all caches
	rm -rf .venv* .ci-report.xml .coverage* requirements.txt.new .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
	find . -name .ipynb_checkpoints -prune -exec rm -rf {} +

env:
	@"$(PYTHON)" tools/bootstrap.py $(EXPLICIT) --goal "$(or $(firstword $(MAKECMDGOALS)),lab)"
