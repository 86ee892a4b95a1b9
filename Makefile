# The two commands of the README, and a few for people who change the code. Each installs what is missing,
# configures, builds and does its work; run again it does only what changed.
BUILD := build/release
JOBS ?= $(shell nproc)

.PHONY: all setup test demo install bench check-format clean
all: $(BUILD)/build.ninja
	@cmake --build $(BUILD) -j $(JOBS)

setup:
	@tools/setup.sh

$(BUILD)/build.ninja: CMakeLists.txt CMakePresets.json tools/setup.sh
	@tools/setup.sh
	@cmake --preset release

test: all
	@tools/run_tests.sh $(BUILD)

demo: all
	@$(BUILD)/rfhe demo

install: all
	@cmake --install $(BUILD)

clean:
	@rm -rf build stage
