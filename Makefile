# `make demo` and `make test` are the two commands of the README; the others are for people who change the code. Each
# installs what is missing, configures, builds and does its work; run again it does only what changed.
BUILD := build/release
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 60
# As clang's OpenMP runtime asks for; other builds ignore it.
export TSAN_OPTIONS ?= ignore_noninstrumented_modules=1

.PHONY: all setup test demo install lint format clang asan tsan fuzz clean
all: $(BUILD)/build.ninja
	@cmake --build $(BUILD) -j $(JOBS)

test: all
	@tools/run_tests.sh $(BUILD)

demo: all
	@$(BUILD)/rfhe demo -o $(BUILD)/rfhe-demo.html

install: all
	@cmake --install $(BUILD) --prefix $(PREFIX)

setup:
	@tools/setup.sh

# One folder per preset. Touched, since CMake leaves the file alone when nothing in it changed.
build/%/build.ninja: CMakeLists.txt CMakePresets.json tools/setup.sh
	@tools/setup.sh $(if $(filter clang tsan fuzz,$*),clang)
	@cmake --preset $*
	@touch $@

# Include arrows, banned functions, paths, shell scripts.
lint: all
	@tools/setup.sh lint
	@tools/run_tests.sh $(BUILD) -L lint
	@shellcheck tools/*.sh tests/*/*.sh .ci/run

# Formats the C files that differ from main.
format:
	@tools/setup.sh lint
	@git diff --name-only --diff-filter=d main -- '*.c' '*.h' | xargs -r clang-format-14 -i

# The whole suite under another compiler or a sanitizer.
clang asan tsan: %: build/%/build.ninja
	@cmake --build build/$@ -j $(JOBS)
	@tools/run_tests.sh build/$@

# Every target of fuzz/ for FUZZ_SECONDS, starting from its saved corpus.
fuzz: build/fuzz/build.ninja
	@cmake --build build/fuzz -j $(JOBS)
	@tools/run_fuzz.sh build/fuzz $(FUZZ_SECONDS)

clean:
	@rm -rf build
