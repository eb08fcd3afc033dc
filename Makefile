# The front door. `make help` lists what it does.
PREFIX  ?= /usr/local
JOBS    ?= $(shell nproc 2>/dev/null || echo 2)
# Where models are kept; the same folder that `otolith models` would use by itself comes with
# MODELS=$$HOME/.cache/otolith/models.
MODELS  ?= $(CURDIR)/models
# ON: warnings are errors (the build server's setting).
WERROR ?= OFF
# Seconds for each target of `make fuzz`; one target alone with FUZZ=gguf.
FUZZ_SECONDS ?= 60
FUZZ ?=
# The longest recording of `make scaling`.
HOURS ?= 10

export OTOLITH_MODELS = $(MODELS)
export OTO_TEST_MODELS = $(MODELS)
export OTO_TEST_DATA ?= $(CURDIR)/build/testdata
OTOLITH := build/release/otolith
TEST_MODELS := whisper-tiny.en whisper-base fsmn-vad

.PHONY: all release asan deps demo test testdata models serve venv certify install deb bench peers scaling fmt fuzz clean help
all: release

release asan:
	@mkdir -p build
	@cmake --preset $@ -DOTO_WERROR=$(WERROR) >build/$@.log || { cat build/$@.log; exit 1; }
	@cmake --build build/$@ -j $(JOBS)

deps:
	@scripts/deps.sh build test

## demo: install packages, build, fetch the models, run the server on two real recordings
demo:
	@scripts/deps.sh build
	@$(MAKE) --no-print-directory models
	@scripts/demo.sh $(OTOLITH) whisper-tiny.en tests/data/en/prompts.ogg en
	@scripts/demo.sh $(OTOLITH) whisper-base tests/data/zh/asr_example.wav

models: release
	@for model in $(TEST_MODELS); do $(OTOLITH) models pull $$model || exit 1; done

## serve: the server with whisper-base on http://127.0.0.1:8000, until ^C
serve: models
	@exec $(OTOLITH) serve -m whisper-base

testdata:
	@scripts/test_data.sh $(OTO_TEST_DATA)

# pytest and OpenAI's packages, in an environment of their own. The package for node is left out
# where there is no npm; its tests then say so.
venv: build/venv/.made build/node_modules/.made
build/venv/.made: tests/requirements.txt
	python3 -m venv build/venv
	build/venv/bin/python -m pip install -q -r tests/requirements.txt
	@touch $@
build/node_modules/.made:
	@mkdir -p $(@D)
	@if command -v npm >/dev/null; then \
		npm install --silent --no-audit --no-fund --no-save --prefix build openai@6 || \
			echo "no openai package for node: its tests are skipped"; fi
	@touch $@

## test: install packages, build (release, sanitizers), make test data, run every test in both
test:
	@scripts/deps.sh build test
	@$(MAKE) --no-print-directory release asan
	@$(MAKE) --no-print-directory testdata venv models
	@status=0; for build in release asan; do \
		ctest --test-dir build/$$build -j $(JOBS) --output-on-failure || status=1; \
	done; exit $$status

## certify: drive this very program with the stress test and write docs/certificate (an hour)
certify: release testdata models
	@scripts/certify.sh $(OTOLITH) docs/certificate whisper-tiny.en whisper-base

## install: PREFIX=DIR
install: release
	cmake --install build/release --prefix $(PREFIX)

## deb: a Debian package in build/, for the release this runs on
deb: release
	@packaging/deb.sh build/release build

## bench: speed by stage and of the products, on this machine
bench: release testdata models
	$(OTOLITH) bench -m whisper-tiny.en $(OTO_TEST_DATA)/en60.wav

## peers: speed, accuracy and memory against faster-whisper and whisper.cpp, in turn
peers: release testdata models
	bench/peers/run.sh
	bench/peers/run.sh --clips

## scaling: cost with threads, with length (HOURS=1 leaves out the ten hours), with jobs at once
scaling: release testdata models
	python3 bench/scaling.py --hours $(HOURS)

## fmt: clang-format over all C files
fmt:
	@git ls-files -z -- '*.c' '*.h' | xargs -0 clang-format -i

## fuzz: every fuzz target for FUZZ_SECONDS (needs scripts/deps.sh dev)
fuzz:
	@test -f build/fuzz/build.ninja || cmake --preset fuzz
	@cmake --build build/fuzz -j $(JOBS)
	@FUZZ="$(FUZZ)" scripts/fuzz.sh build/fuzz $(FUZZ_SECONDS)

clean:
	rm -rf build/release build/debug build/asan build/tsan build/fuzz build/coverage

help:
	@echo "make                 build/release/otolith"
	@sed -n 's/^## \([a-z]*\): /make \1\t/p' Makefile | expand -t 21
	@echo "make clean           remove the builds (models and test data stay)"
