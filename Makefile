# make demo [PORTRAIT=picture] [AUDIO=sound]   a talking video from a picture
# make test                                    the tests, also in a real ComfyUI and its front end; set up from nothing
# make test-all                                the same, in older ComfyUIs, and with ten minutes of speech
# make workflows                               the example workflows, their thumbnails and the pictures of the help, anew
# make lint                                    style
# make bench [BENCH=pipeline|render|bini]      seconds and frames per second on this machine

PYTHON ?= python3
VENV ?= .venv
COMFY ?= .comfy
BENCH ?= pipeline

RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-all comfy comfy-all workflows lint bench clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(RUN) -m mggtalk_core demo $(if $(PORTRAIT),--portrait "$(PORTRAIT)") $(if $(AUDIO),--audio "$(AUDIO)")

test: $(VENV)/.installed-tests comfy
	MGGTALK_COMFY=$(COMFY) $(RUN) -m pytest $(TESTS)

test-all: $(VENV)/.installed-tests comfy comfy-all
	MGGTALK_LONG=1 MGGTALK_COMFY=$(COMFY) $(RUN) -m pytest $(TESTS)

workflows: comfy
	$(RUN) -m tests.comfy.make_workflows $(COMFY)

lint: $(VENV)/.installed-tests
	$(RUN) -m ruff check .

bench: $(VENV)/.installed-tests
	mkdir -p out
	$(RUN) -m mggtalk_core benchmark $(BENCH) --report out/benchmark-$(BENCH).json

clean:
	rm -rf $(VENV) $(COMFY) .pytest_cache .ruff_cache .hypothesis build dist out

$(RUN):
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

# ComfyUI is fetched and run, never part of this repository.
comfy: $(VENV)/.installed-tests
	$(RUN) -m tests.comfy.install $(COMFY) --browser

comfy-all: comfy
	$(RUN) -m tests.comfy.install $(COMFY) 0.3.75 0.3.52

# The demo's picture comes with scikit-image; pocketsphinx hears phonemes, and the demo works without it.
$(VENV)/.installed: requirements.txt constraints.txt | $(RUN)
	$(PIP) --requirement requirements.txt scikit-image
	$(PIP) pocketsphinx || echo "going on without pocketsphinx"
	touch $@

$(VENV)/.installed-tests: tests/requirements.txt $(VENV)/.installed | $(RUN)
	$(PIP) --requirement tests/requirements.txt
	touch $@
