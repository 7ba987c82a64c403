# Overland: what a VM's move between NVEs costs. `make help` lists the targets.
# Parameters of an experiment are given as NAME=value, such as: make hot-l2 policy=tunnel repeat=20

VENV ?= .venv
RESULTS ?= results
export RESULTS VENV STUDIES

# `sudo make ..`: what needs no root is done as the user whose clone this is.
FOREIGN := $(and $(filter 0,$(shell id -u)),$(filter-out 0,$(shell stat -c %u .)))
PYTHON := $(if $(FOREIGN),./as-owner.sh) '$(VENV)/bin/python'
SUDO := $(if $(filter 0,$(shell id -u)),,sudo -E)
ROOT_PYTHON := $(SUDO) '$(VENV)/bin/python'
# plan=only says what a run will be: that needs no root.
PLANNER := $(if $(plan)$(PLAN),$(PYTHON),$(ROOT_PYTHON))
# Every NAME=value given on make's command line goes to the experiment, which knows which there are.
given = $(strip $(foreach name,$(filter-out VENV RESULTS STUDIES ARGS MAKE% -% $(1),$(.VARIABLES)),$(if $(filter command line,$(origin $(name))),'$(name)=$($(name))')))
# What has parameters gets all of them: it refuses those of other targets with a hint.
PARAMETERS := $(call given)
# A target that takes none but these refuses the rest: a misspelt RUN= would silently mean another run.
only = $(if $(call given,$(1)),$(error make $@ takes $(if $(1),$(addsuffix =,$(1)),no parameters), not $(call given,$(1))))

# An experiment is there because its file is: NAME.py or NAME/study.py, with _ for -. STUDIES=folder: your own, too.
STUDIES ?=
studies = $(wildcard $(1)/[a-z]*.py $(1)/[a-z]*/study.py)
name_of = $(subst _,-,$(notdir $(patsubst %/study,%,$(basename $(1)))))
STUDY_FILES := $(foreach folder,experiments/studies $(STUDIES),$(call studies,$(folder)))
EXPERIMENTS := $(sort $(foreach file,$(STUDY_FILES),$(call name_of,$(file))))

.DEFAULT_GOAL := help
.PHONY: $(EXPERIMENTS) help list sweep decide compare gate precision pcap topology answers cli shell validate runs report bench test test-unit test-root check format clean setup setup-test setup-image image image-verify image-disk image-run image-imports image-shell image-cli evaluate evaluate-compare evaluate-reference lock ryu-check

help: ## This list
	@awk -F '"""|: ' 'FNR == 1 {printf "  make %-18s %s\n", $$2, $$3}' $(STUDY_FILES)
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

list: setup ## The experiments, a line each (EXP=cold: question, what varies, what the answer looks like, parameters)
	$(call only,EXP)@$(PYTHON) -m experiments list $(EXP)

$(EXPERIMENTS): setup
	@$(PLANNER) -m experiments run $@ $(PARAMETERS)

sweep: setup ## An experiment over many settings (EXP=hot-l2 rate_pps=1000,2000,5000 repeat=5; JOBS=n, RESUME=folder)
	@$(PLANNER) -m experiments sweep $(PARAMETERS)

cli: setup ## Mininet's CLI on a topology (TOPO=two_racks), with migrate, where, why, flows, watch
	@$(ROOT_PYTHON) -m experiments cli $(or $(TOPO),two_racks) $(call given,TOPO)

shell: setup ## A shell in a node of a running network (NODE=nve1; RUN=.. when several run)
	$(call only,NODE RUN)@$(ROOT_PYTHON) -m experiments shell $(or $(NODE),.) $(RUN)

validate: setup ## Check a topology file (TOPO=file.yaml), all errors at once
	$(call only,TOPO)@$(PYTHON) -m topologies $(or $(TOPO),topologies/*.yaml)

runs: setup ## The runs recorded here, oldest first: what RUN=, A=, B=, BASELINE= can be
	$(call only)@$(PYTHON) -m results list

report: setup ## Make the HTML report of a run again from its record (RUN=.., default the latest)
	$(call only,RUN)@$(PYTHON) -m results report $(or $(RUN),latest)

decide: setup ## What a move will cost and whether to move, from the records here (memory_mib=512 gain=2s ..)
	@$(PYTHON) -m experiments decide $(PARAMETERS)

compare: setup ## Did run B move from run A? Exit status 1 if so (A=run B=run)
	$(call only,A B)@$(PYTHON) -m results compare $(or $(A),'') $(or $(B),'')

gate: setup ## Exit status 1 if a run is worse than a baseline (BASELINE=run, RUN=.. default the latest)
	$(call only,BASELINE RUN)@$(PYTHON) -m results gate $(or $(BASELINE),'') $(or $(RUN),latest)

precision: setup ## How many more trials a narrower interval takes (RUN=.., WIDTH=10% or 2ms)
	$(call only,RUN WIDTH)@$(PYTHON) -m results precision $(or $(RUN),latest) --width='$(or $(WIDTH),10%)'

pcap: setup ## What the captures of a run hold (PCAP=1 makes them), where packets were lost (RUN=.., PACKET=n)
	$(call only,RUN PACKET)@$(PYTHON) -m results pcap $(or $(RUN),latest) $(if $(PACKET),--packet='$(PACKET)')

topology: setup ## Write the topology of a run as a file again, from its record (RUN=.., FILE=.. default results/topologies/)
	$(call only,RUN FILE)@$(PYTHON) -m experiments topology $(or $(RUN),latest) $(FILE)

answers: setup ## One page with the answer to every question, from the kept records and those of this machine
	$(call only)@$(PYTHON) -m results answers

bench: setup ## Speed, each figure beside a control of the same run
	@$(ROOT_PYTHON) -m experiments bench $(PARAMETERS)

image: setup-image ## Build the VM image (kernel with openvswitch, netem, SCTP), if there is none of this recipe
	@$(PYTHON) -m image build

image-verify: setup-image ## Build the VM image once more and compare the hashes: byte for byte the same?
	@$(PYTHON) -m image verify

image-disk: image ## A disk that boots by itself, with the project in it, for a machine to log in to
	@$(PYTHON) -m image disk

image-run: setup-image ## An experiment inside the VM image (EXP=hot-l2 QUICK=1; ACCEL=kvm or tcg), its run brought back here
	@$(PYTHON) -m image run $(EXP) $(call given,EXP)

image-imports: setup-image ## How long Python takes to load what a run needs inside, compiled or not, or all packages
	@$(PYTHON) -m image imports $(PARAMETERS)

image-shell: setup-image ## A console in the VM image
	@$(PYTHON) -m image shell $(PARAMETERS)

image-cli: setup-image ## Mininet's CLI inside the VM image (TOPO=wide_area)
	@$(PYTHON) -m image cli $(or $(TOPO),two_racks) $(call given,TOPO)

evaluate: setup-image ## Every experiment inside the VM image, then the answers page (QUICK=1: short forms; REPEAT=3); goes on where it stopped
	@$(PYTHON) -m image evaluate $(PARAMETERS)

evaluate-compare: setup ## Do the newest runs agree with results/reference? Exit status 1 if not
	$(call only)@$(PYTHON) -m results reference

evaluate-reference: setup ## Keep the newest runs, of the VM image and of this host, as results/reference; write ANSWERS.md and README's tables
	$(call only)@$(PYTHON) -m results reference --write

test: setup-test ## Unit tests (no root, seconds) and root tests (real Open vSwitch)
	@$(PYTHON) -m pytest -n auto tests/unit $(ARGS)
	@$(ROOT_PYTHON) -B -m pytest tests/root $(ARGS)

test-unit: setup-test ## Unit tests alone
	@$(PYTHON) -m pytest -n auto tests/unit $(ARGS)

test-root: setup-test ## Root tests alone
	@$(ROOT_PYTHON) -B -m pytest tests/root $(ARGS)

check: setup-test ## Format, lint and types
	@$(PYTHON) -m ruff format --check . && $(PYTHON) -m ruff check . && $(PYTHON) -m mypy

format: setup-test ## Put the code into its format
	@$(PYTHON) -m ruff format . && $(PYTHON) -m ruff check --fix .

ryu-check: setup-test ## The same NVA app on stock Ryu 4.34 (optional, not part of the tests)
	@$(ROOT_PYTHON) -m tests.root.ryu_check

clean: ## Remove what building and testing left (run folders stay; they are in results/runs)
	rm -rf .build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

setup:
	@./setup.sh run

setup-test:
	@./setup.sh test

setup-image:
	@./setup.sh image

lock: setup-test ## Write requirements*.txt anew from requirements*.in (needs pip-tools)
	pip-compile -q --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links --no-header --no-annotate -o requirements.txt requirements.in
	pip-compile -q --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links --no-header --no-annotate -o requirements-dev.txt requirements-dev.in
