# SPDX-License-Identifier: MIT
# The core with a sanitizer, beside the ordinary build and never over it. From the root of the checkout:
#   make -f packaging/sanitized.mk KIND=address   AddressSanitizer and UndefinedBehaviorSanitizer, by g++
#   make -f packaging/sanitized.mk KIND=thread    ThreadSanitizer, by g++
#   make -f packaging/sanitized.mk KIND=fuzz      the fuzz targets: libFuzzer, and the first two, by clang++
# The first two make build/sanitize/KIND/dataplane_test and, with HEADERS=the folder of node's headers,
# build/sanitize/KIND/dataplane.node; the last one makes build/fuzz/native/TARGET.

# The code of the tests is two thirds of all, and compiled more often than it is run.
LEVEL := -O1
COMMON = -std=c++20 -g1 $(LEVEL) -fPIC -fno-omit-frame-pointer -pthread -Inative -Itest/native

ifeq ($(KIND),address)
  COMPILE = g++ $(COMMON) -fsanitize=address,undefined -fno-sanitize-recover=all
else ifeq ($(KIND),thread)
  COMPILE = g++ $(COMMON) -fsanitize=thread
  # GCC's ThreadSanitizer knows no fence; the core has none, a header of the library has.
  COMPILE += -Wno-tsan
else ifeq ($(KIND),fuzz)
  COMPILE = clang++ $(COMMON) -fsanitize=address,undefined -fno-sanitize-recover=all
else
  $(error KIND is address, thread or fuzz)
endif

FACE := native/binding.cc native/engine_wrap.cc $(wildcard native/*_object.cc)
CORE := $(filter-out $(FACE),$(wildcard native/*.cc))
TESTS := $(wildcard test/native/*.cc)

ifeq ($(KIND),fuzz)
  OUT := build/fuzz/native
  TARGETS := $(patsubst test/fuzz/native/%.cc,%,$(wildcard test/fuzz/native/*.cc))
  HELPERS := $(addprefix test/native/,interleaving.cc interleavings.cc service_manager.cc session_ends.cc support.cc traffic.cc)
  OBJECTS := $(patsubst %.cc,$(OUT)/objects/%.o,$(CORE) $(HELPERS))
  WANTED := $(addprefix $(OUT)/,$(TARGETS))
else
  OUT := build/sanitize/$(KIND)
  WANTED := $(OUT)/dataplane_test $(if $(HEADERS),$(OUT)/dataplane.node)
endif

all: $(WANTED)

# A change of this file may be one of the flags.
$(OUT)/objects/%.o: %.cc packaging/sanitized.mk
	@mkdir -p $(@D)
	$(COMPILE) $(EXTRA) -MMD -MP -c $< -o $@

ifeq ($(KIND),fuzz)
$(OBJECTS): EXTRA := -fsanitize=fuzzer-no-link
$(OUT)/objects/test/fuzz/%.o: EXTRA := -fsanitize=fuzzer-no-link
# It has a main of its own, and counts its edges itself.
$(OUT)/sessions: $(OUT)/objects/test/fuzz/native/sessions.o $(OBJECTS)
	$(COMPILE) $^ -o $@
$(OUT)/%: $(OUT)/objects/test/fuzz/native/%.o $(OBJECTS)
	$(COMPILE) -fsanitize=fuzzer $^ -o $@
else
$(OUT)/objects/test/%.o: LEVEL := -O0
FACE_OBJECTS := $(patsubst %.cc,$(OUT)/objects/%.o,$(FACE))
$(FACE_OBJECTS): EXTRA := -DNAPI_VERSION=8 -DNAPI_CPP_EXCEPTIONS \
  -isystem $(HEADERS) -isystem node_modules/node-addon-api
$(OUT)/dataplane_test: $(patsubst %.cc,$(OUT)/objects/%.o,$(CORE) $(TESTS))
	$(COMPILE) $^ -o $@
$(OUT)/dataplane.node: $(patsubst %.cc,$(OUT)/objects/%.o,$(CORE) test/native/thread_sanitizer.cc) $(FACE_OBJECTS)
	$(COMPILE) -shared $^ -o $@
endif

.PHONY: all
.SECONDARY:
-include $(shell find $(OUT)/objects -name '*.d' 2>/dev/null)
