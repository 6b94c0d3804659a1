# Everything a newcomer needs stands here; `make run` and `make test` ask for nothing but python3 (3.11 or newer).
PYTHON ?= python3
VENV := .venv
DIST := dist
SITE := .cache/site
BIN := $(VENV)/bin

.PHONY: run test check format hardening chaos package dist clients bench profile scaling accounts conformance hooks clean \
	docs changelog golden growth memory mutants replay screenshots

run: $(VENV)/.runs  ## start the gateway on 127.0.0.1:8080 (HOST=… PORT=… to move it)
	@# A changed checkout is compiled once, and not at each start where PYTHONDONTWRITEBYTECODE is set.
	@$(BIN)/python -m compileall -q app dragoman.py
	@exec $(BIN)/dragoman serve

test: $(VENV)/.tests  ## everything that needs nothing but the package index
	$(BIN)/python -m pytest -q -n 4

golden: $(VENV)/.tests  ## write tests/golden anew: what each pair of dialects makes of each case; read the diff
	GOLDEN=write $(BIN)/python -m pytest -q tests/golden
	git diff --stat -- tests/golden

replay: $(VENV)/.tests  ## golden files of the genuine programs' requests anew; PROGRAM=… VERSION=… records one first
	$(if $(PROGRAM),$(BIN)/python -m tests.replay.record $(PROGRAM) $(VERSION))
	GOLDEN=write $(BIN)/python -m pytest -q tests/replay
	git add -N tests/replay && git diff --stat -- tests/replay

screenshots: $(VENV)/.tests  ## the pictures of docs/dashboard.md anew, from a gateway with invented data; needs Debian's chromium
	SCREENSHOTS=write $(BIN)/python -m pytest -q tests/clients/test_dashboard_browser.py -k whole
	git add -N docs/screenshots && git diff --stat -- docs/screenshots

mutants: $(VENV)/.tests  ## break each parser and renderer, line by line, and see that the laws notice
	$(BIN)/python tests/mutants/mutants.py

check: $(VENV)/.tests  ## style, types, import contracts, documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q tests/docs tests/architecture

format: $(VENV)/.tests
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

TIMED = $(addprefix tests/hardening/test_,time.py readers.py reply_growth.py stalls.py)

hardening: $(VENV)/.tests  ## hostile clients, upstreams and web pages: what holds, and its figures
	@# Time is measured in a process of its own: what other tests leave on the heap changes it.
	$(BIN)/python -m pytest -q $(TIMED)
	HARDENING_CASES=100000 $(BIN)/python -m pytest -q tests/hardening $(TIMED:%=--ignore=%)

# Where the project lives: the address of `origin` without a password, if it is one that others can reach.
PROJECT_URL ?= $(shell git remote get-url origin 2>/dev/null | sed -nE 's,(\.git)?/?$$,,; \
	s,^https://([^@/]*@)?([^@]+)$$,https://\2,p; s,^(ssh://)?git@([^:/]+)[:/]([^:]+)$$,https://\2/\3,p')

dist: $(VENV)/.dist  ## wheel, source distribution, bill of materials, hashes; the same commit gives the same bytes
	@rm -rf $(DIST) build && mkdir -p $(DIST)
	@# setuptools keeps the times of the day and the modes of this checkout; GNU tar packs it again without them, and the
	@# wheel is made of the same files.
	@umask 022 && export PROJECT_URL='$(PROJECT_URL)' SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) && \
	$(BIN)/python -m build -q --sdist --outdir $(DIST) && \
	name=$$(basename $(DIST)/*.tar.gz .tar.gz) && tar -xzf $(DIST)/$$name.tar.gz -C $(DIST) && \
	chmod -R u=rwX,go=rX $(DIST)/$$name && \
	tar --sort=name --mtime=@$$SOURCE_DATE_EPOCH --owner=0 --group=0 --numeric-owner -C $(DIST) -cf - $$name \
	| gzip -n9 > $(DIST)/$$name.tar.gz && \
	$(BIN)/python -m build -q --wheel --outdir $(DIST) $(DIST)/$$name && rm -r $(DIST)/$$name
	$(BIN)/cyclonedx-py requirements requirements.txt --output-reproducible --of JSON -o $(DIST)/dragoman.cdx.json
	cd $(DIST) && sha256sum *.whl *.tar.gz *.json > SHA256SUMS

package: $(VENV)/.tests  ## the distributions, built and installed in each way
	$(BIN)/python -m pytest -q tests/package

docs: $(VENV)/.tests  ## the documentation as a site, in $(SITE); needs no network to build or to read
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q --strict -f deploy/site/mkdocs.yml -d $(abspath $(SITE))
	@SITE=$(abspath $(SITE)) $(BIN)/python -m pytest -q tests/deploy/site
	@echo "open $(SITE)/index.html"

.PHONY: reference container machine cloudflare deploy-cloudflare update-creds tail

reference: $(VENV)/.tests  ## the pages that say what the code says: commands, endpoints, errors, settings
	$(BIN)/python deploy/site/reference.py
	$(BIN)/dragoman config schema > docs/dragoman.schema.json

changelog: $(VENV)/.tests  ## what the next release would say; with VERSION=1.2.3 it is written into CHANGELOG.md
	$(BIN)/towncrier build --config docs/changes/towncrier.toml --dir . $(if $(VERSION),--yes --version $(VERSION),--draft --version next)

container: $(VENV)/.tests  ## each step of the Containerfile, and the image run as it is deployed; root, buildah, debootstrap
	$(BIN)/python -m pytest -q -rs tests/deploy/container

machine: $(VENV)/.tests  ## the steps of docs/how-to/systemd.md in a system of its own; root, systemd-nspawn, debootstrap
	$(BIN)/python -m pytest -q -rs tests/deploy/machine

cloudflare: $(VENV)/.tests  ## the worker of deploy/cloudflare in workerd, before a gateway of this machine; npm
	$(BIN)/python -m pytest -q -rs tests/deploy/cloudflare

# The three below act on your account at Cloudflare; `npx wrangler login` comes first.
deploy-cloudflare: deploy/cloudflare/node_modules  ## build the image, and put worker and container to Cloudflare
	cd deploy/cloudflare && npx wrangler deploy

update-creds: deploy/cloudflare/node_modules  ## this machine's Claude login becomes the worker's; LOGIN=… names another file
	cd deploy/cloudflare && node update-creds.js $(LOGIN)

tail: deploy/cloudflare/node_modules  ## the worker's log, as it comes
	cd deploy/cloudflare && npx wrangler tail

deploy/cloudflare/node_modules: deploy/cloudflare/package.json
	cd deploy/cloudflare && npm install --no-fund --no-audit && touch node_modules

chaos: $(VENV)/.tests  ## streams, cuts, leavers, reloads and killed workers under load, and their figures; minutes
	CHAOS=1 $(BIN)/python -m pytest -q tests/chaos

clients: $(VENV)/.tests  ## the genuine programs against this gateway
	$(BIN)/python -m pytest -q -rs tests/clients

bench: $(VENV)/.runs  ## CPU, memory and delay beside nginx and bare Node; PEERS=1: and beside compiled gateways
	$(BIN)/python bench/bench.py $(if $(PEERS),--peers)

growth: $(VENV)/.tests  ## what a request costs with all switched on, beside live pages, and with many routes, keys, providers and streams
	@failed=; for part in sinks live growth; do $(BIN)/python bench/$$part.py || failed=1; done; [ -z "$$failed" ]

memory: $(VENV)/.runs  ## what a worker holds while 200,000 mixed requests go by
	$(BIN)/python bench/memory.py

profile: $(VENV)/.runs  ## the Python calls of a request on the hot path, and where its time goes
	$(BIN)/python bench/calls.py --profile --only $(or $(ONLY),unary-pass-1)

scaling: $(VENV)/.tests  ## CPU by workers, hosts and what they share
	$(BIN)/python bench/scaling.py

accounts: $(VENV)/.tests  ## a million requests in the accounts: room, lists, sums
	$(BIN)/python bench/accounts.py

conformance: $(VENV)/.tests  ## the black-box suite beside the checkout
	$(BIN)/python tests/conformance.py --check

hooks: $(VENV)/.tests  ## format and lint before each commit, types before each push
	$(BIN)/python -m pip install -q "pre-commit>=4"
	$(BIN)/pre-commit install --hook-type pre-commit --hook-type pre-push

clean:
	rm -rf $(VENV) .cache build *.egg-info .mypy_cache .ruff_cache .pytest_cache

# uv, where it is there, does in seconds what pip does in a minute.
UV := $(shell command -v uv 2>/dev/null)
INSTALL := $(if $(UV),$(UV) pip install -q --python $(BIN)/python,$(BIN)/python -m pip install -q --disable-pip-version-check --use-pep517)

# The stamps keep a second `make` from installing again; a changed list of packages makes them stale. An environment
# without a working pip is what a failed first try leaves behind, and one whose Python is gone what an update of the
# system does: either is made anew.
STAMPS := $(wildcard $(VENV)/.made $(VENV)/.dist $(VENV)/.runs $(VENV)/.tests)
$(if $(STAMPS),$(shell $(BIN)/python -c '' 2>/dev/null || rm -f $(STAMPS)))

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Dragoman needs Python 3.11 or newer; say which one with: make PYTHON=python3.12")'
	@echo "dragoman: installing into $(VENV); the first time this takes about a minute"
	@{ [ -f $(VENV)/pyvenv.cfg ] && $(BIN)/python -m pip --version >/dev/null 2>&1; } || $(if $(UV),$(UV) venv -q --clear --seed --python $(PYTHON) $(VENV),$(PYTHON) -m venv --clear $(VENV)) \
	|| { rm -rf $(VENV); echo "Could not make $(VENV). On Debian and Ubuntu: apt install python3-venv; then run make again."; exit 1; }
	@touch $@

$(VENV)/.dist: | $(VENV)/.made
	@$(INSTALL) "build>=1.2" "cyclonedx-bom>=7"
	@touch $@

$(VENV)/.runs: requirements.txt setup.cfg setup.py | $(VENV)/.made
	@$(INSTALL) --require-hashes -r requirements.txt
	@$(INSTALL) --no-deps -e .
	@touch $@

$(VENV)/.tests: $(VENV)/.runs
	@# The versions alone: with the hashes pip would want one for each package that only tests need.
	@sed -n 's/^\([^ #]*==[^ ;\\]*\).*/\1/p' requirements.txt > $(VENV)/versions.txt
	@$(INSTALL) -c $(VENV)/versions.txt -e '.[dev]'
	@touch $@
