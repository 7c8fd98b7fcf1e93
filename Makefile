# A thin wrapper of CMake, which describes the build (CMakeLists.txt). `make help` lists the targets.
BUILD := build
WERROR ?= OFF
GPU ?= ON
CONFIGURE := @cmake --log-level=NOTICE -S . -DBM3_WERROR=$(WERROR) -DBM3_GPU=$(GPU) -B
MAKEFLAGS += --no-print-directory
JOBS := $(shell nproc)
PACKAGES := g++ cmake libopenblas-dev libcli11-dev nlohmann-json3-dev libgtest-dev zlib1g-dev
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: all deps tests test sanitize sanitize-gpu fuzz bench goldens clean help

all: ## build ./bm3 and the checker of goldens (GPU=OFF: for the CPU alone)
	$(CONFIGURE) $(BUILD) -DCMAKE_BUILD_TYPE=Release
	@cmake --build $(BUILD) -j $(JOBS) --target bm3 golden_check
	@ln -sf $(BUILD)/bm3 bm3

deps: ## install the missing packages of Debian or Ubuntu (TOOLS='clang ...' adds to them)
	@missing=$$(for p in $(PACKAGES) $(TOOLS); do \
	    dpkg -s $$p 2>/dev/null | grep -q '^Status: install ok installed' || echo $$p; done); \
	if [ -z "$$missing" ]; then echo "all packages are there"; else \
	    echo "installing:" $$missing; \
	    $(SUDO) apt-get update -qq && \
	    $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing; fi

tests: all
	@cmake --build $(BUILD) -j $(JOBS)

test: tests ## all tests, through CTest
	@ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)

sanitize: ## the same tests with address and undefined-behaviour sanitizers, the CUDA kernels on the CPU
	$(CONFIGURE) $(BUILD)-sanitize -DCMAKE_BUILD_TYPE=Debug -DBM3_SANITIZE=ON
	@cmake --build $(BUILD)-sanitize -j $(JOBS)
	@ctest --test-dir $(BUILD)-sanitize --output-on-failure -j $(JOBS)

GPU_TESTS := batch bm3 choose cuda_device evaluate goldens models ops
SLOW := *FiniteDifferences*:GradientTest*
REFUSED := CudaOutOfMemory*
OURS := --kernel-name kernel_substring=bm3
sanitize-gpu: tests ## the GPU's tests under compute-sanitizer's four tools (needs a GPU, takes long)
	@for tool in memcheck initcheck "synccheck $(OURS)" "racecheck $(OURS)"; do \
	    for test in $(GPU_TESTS); do echo "$$tool: test_$$test"; \
	        compute-sanitizer --tool $$tool --error-exitcode 1 $(BUILD)/test_$$test \
	            --gtest_brief=1 --gtest_filter='*cuda*:Cuda*:-$(SLOW):$(REFUSED)' || failed=1; \
	done; done; [ -z "$$failed" ]

SECONDS_OF_FUZZ := 120
fuzz: ## two minutes of fuzzing for the two parsers (needs clang)
	$(CONFIGURE) $(BUILD)-fuzz -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_COMPILER=clang++ \
	    -DBM3_SANITIZE=ON -DBM3_FUZZ=ON
	@cmake --build $(BUILD)-fuzz -j $(JOBS)
	$(BUILD)-fuzz/fuzz -max_total_time=$(SECONDS_OF_FUZZ) -verbosity=0

bench: all ## time, floor and ratio of each stage on data of Baby's size, beside PyTorch where it is there
	@cmake --build $(BUILD) -j $(JOBS) --target bench
	$(BUILD)/bench

GOLDENS := $(BUILD)/goldens
COUNT := 160
SEED := $(shell date +%s)
goldens: all ## new random goldens (COUNT=160 SEED=now) by the PyTorch reference, checked
	python3 ref/goldens.py --out $(GOLDENS)/$(SEED) --count $(COUNT) --seed $(SEED)
	$(BUILD)/golden_check $(GOLDENS)/$(SEED)/*.safetensors

clean: ## remove everything that was built
	rm -rf $(BUILD) $(BUILD)-sanitize $(BUILD)-fuzz bm3

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)
