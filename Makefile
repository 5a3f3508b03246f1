# session_reconciler: builds with PGXS.
#
#   make               build the library, the install script and the collector
#   make install       into the server of PG_CONFIG
#   make installcheck  pg_regress against a running server that preloads the library
#   make test          everything, in private clusters      (STAGE=unit PATTERN=backoff: a part)
#   make fuzz          the fuzzers of test/fuzz, for long    (RUNS=10000000 each)
#   make test-matrix   the same on other PostgreSQL majors, in chroots   (VERSIONS="13 18" STAGE=…)
#   make demo          a control plane, a hub and agents to look at
#   make simulate      millions of passes in simulated worlds     (PASSES=10000000 SECONDS=3600 SEED=1)
#   make bench         benchmarks
#
# Object files go to build/, so the source rooms stay clean.

.PHONY: all install installcheck test test-matrix fuzz simulate demo bench clean rooms print-install-script

all:

PG_CONFIG ?= pg_config
EXTENSION  = session_reconciler
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(EXTENSION).control)

# The commands of the README.  They install what they need and build by themselves, so they
# stand outside of everything below that wants a server's development files.
test:
	@PG_CONFIG='$(PG_CONFIG)' scripts/test '$(STAGE)' '$(PATTERN)'

fuzz:
	@scripts/install-packages test && scripts/in-sandbox scripts/fuzz '$(or $(RUNS),10000000)' '$(PATTERN)'

test-matrix:
	@scripts/test-matrix '$(VERSIONS)' '$(STAGE)' '$(PATTERN)'

demo:
	@PG_CONFIG='$(PG_CONFIG)' scripts/demo $(DEMO_ARGS)

simulate:
	@scripts/simulate $(PASSES:%=--passes %) $(SECONDS:%=--seconds %) $(SEED:%=--seed %)

bench:
	@PG_CONFIG='$(PG_CONFIG)' scripts/bench $(BENCH)

print-install-script:
	@echo $(EXTENSION)--$(EXTVERSION).sql

# A fresh machine: make must get past this point without pg_config, to be able to install it.
PGXS := $(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null))
hash := \#
LIBRARIES_FOUND := $(shell printf '%s\n' \
	'$(hash)if __has_include(<curl/curl.h>) && __has_include(<nlohmann/json.hpp>)' yes '$(hash)endif' \
	| $(CXX) -x c++ -E -P - 2>/dev/null | tail -n 1)

ifeq ($(and $(PGXS),$(filter yes,$(LIBRARIES_FOUND))),)
BUILD_TOOLS_MISSING = yes
endif

ifdef BUILD_TOOLS_MISSING

ifdef BUILD_TOOLS_INSTALLED
all install installcheck:
	$(error No usable $(PG_CONFIG) --pgxs, C++ compiler, libcurl or nlohmann_json headers: see scripts/install-packages)
else
all install installcheck:
	scripts/install-packages build
	+$(MAKE) BUILD_TOOLS_INSTALLED=yes $@
endif

clean:
	rm -rf build $(EXTENSION)--*.sql $(EXTENSION).so

else

ROOMS      := core engine http hub cluster postgres
SOURCES    := $(sort $(wildcard $(ROOMS:%=src/%/*.cpp)))
SQL_PIECES := $(sort $(wildcard src/sql/[0-9]*.sql))
PROFILES   := $(sort $(wildcard src/hub/profiles/*.json))

MODULE_big = $(EXTENSION)
OBJS       = $(SOURCES:src/%.cpp=build/ext/%.o)
DATA_built = $(EXTENSION)--$(EXTVERSION).sql
DATA       = $(wildcard $(EXTENSION)--*--*.sql)
REGRESS    = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
# PGXS links with the C compiler.
SHLIB_LINK = -Wl,--version-script=src/exports.map -lcurl -lstdc++ $(SANITIZE:%=-fsanitize=%)
EXTRA_CLEAN = build

# Bitcode would be compiled by clang with another C++ standard, and a background worker gains
# nothing from it.  A plain assignment is overwritten by Makefile.global.
override with_llvm = no

include $(PGXS)

HOUSE_FLAGS = -std=c++20 -Wall -Wextra -Werror $(FALSE_ALARMS) -Wno-register -fPIC -fno-semantic-interposition \
	-MMD -MP -Isrc $(SANITIZE_FLAGS)
# g++ 10 takes every empty std::optional for an uninitialized one.
FALSE_ALARMS := $(if $(filter 10,$(shell $(CXX) -dumpversion)),-Wno-maybe-uninitialized)
# Unoptimized, since optimizing what the undefined-behaviour sanitizer adds takes g++ several times
# as long as everything else.  In a tree of its own: the objects have the same names.
ifdef SANITIZE
SANITIZE_FLAGS = -fsanitize=$(SANITIZE) -fno-omit-frame-pointer -O0
override CPPFLAGS := $(filter-out -D_FORTIFY_SOURCE%,$(CPPFLAGS))
endif
# Only src/postgres sees the server's headers; by -isystem, since they don't compile warning-free
# as C++.  The other rooms get the distribution's hardening macros and nothing more.
PLAIN_CPPFLAGS  = $(filter -D% -U%,$(CPPFLAGS))
SERVER_CPPFLAGS = $(patsubst -I%,-isystem %,$(filter-out -I. -I./,$(CPPFLAGS)))

build/ext/postgres/%.o: ROOM_CPPFLAGS = $(SERVER_CPPFLAGS) -DRECONCILER_VERSION='"$(EXTVERSION)"'
build/ext/postgres/init.o build/ext/postgres/version.o: $(EXTENSION).control
build/ext/collector/%.o: ROOM_CPPFLAGS = $(PLAIN_CPPFLAGS) -isystem $(shell $(PG_CONFIG) --includedir) -DRECONCILER_VERSION='"$(EXTVERSION)"'
build/ext/collector/main.o: $(EXTENSION).control
build/ext/%.o: ROOM_CPPFLAGS = $(PLAIN_CPPFLAGS)

build/ext/%.o: src/%.cpp Makefile
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) $(HOUSE_FLAGS) $(ROOM_CPPFLAGS) -c $< -o $@

-include $(OBJS:.o=.d)

$(MODULE_big).so: src/exports.map

# The collector: the same rooms in a program of its own, with libpq instead of the server around it. PGXS makes either a
# library or programs.
COLLECTOR = build/session-reconciler-gc
COLLECTOR_OBJS := $(patsubst src/%.cpp,build/ext/%.o,$(sort $(foreach room,core engine http cluster collector,$(wildcard src/$(room)/*.cpp))))
$(COLLECTOR): $(COLLECTOR_OBJS)
	$(CXX) $(CXXFLAGS) $(SANITIZE_FLAGS) -o $@ $^ $(LDFLAGS) $(LDFLAGS_EX) -L$(shell $(PG_CONFIG) --libdir) -lpq -lcurl

all: $(COLLECTOR)
install: install-collector
install-collector: $(COLLECTOR)
	$(MKDIR_P) '$(DESTDIR)$(bindir)'
	$(INSTALL_PROGRAM) $(COLLECTOR) '$(DESTDIR)$(bindir)/session-reconciler-gc'
uninstall: uninstall-collector
uninstall-collector:
	rm -f '$(DESTDIR)$(bindir)/session-reconciler-gc'
.PHONY: install-collector uninstall-collector
-include $(COLLECTOR_OBJS:.o=.d)

# The rooms below postgres/ as libraries, for the unit tests: what they test is the code as shipped,
# and it is compiled once.
ROOM_LIBRARIES := $(sort $(patsubst src/%/,build/ext/%.a,$(dir $(filter-out src/postgres/%,$(SOURCES)))))
rooms: $(ROOM_LIBRARIES)
# room_library(room).  The directory too: a source that was removed must go.
define room_library
build/ext/$(1).a: $(patsubst src/%.cpp,build/ext/%.o,$(wildcard src/$(1)/*.cpp)) src/$(1)
	rm -f $$@ && $$(AR) crs $$@ $$(filter %.o,$$^)
endef
$(foreach library,$(ROOM_LIBRARIES),$(eval $(call room_library,$(basename $(notdir $(library))))))

# Joined in name order, with the hub profiles after the tables.  The directories are prerequisites
# too: a piece that was removed must go.
$(DATA_built): $(SQL_PIECES) $(PROFILES) scripts/embed-profiles $(EXTENSION).control src/sql src/hub/profiles Makefile
	@set -e; { printf '%s\n' '-- Made from src/sql by make; do not edit.' \
	     '\echo Use "CREATE EXTENSION $(EXTENSION)" to load this file. \quit'; \
	   for piece in $(SQL_PIECES); do \
	     cat "$$piece"; \
	     case $$piece in src/sql/30-*) scripts/embed-profiles $(PROFILES) ;; esac; \
	   done; } > $@.tmp && mv $@.tmp $@

endif
