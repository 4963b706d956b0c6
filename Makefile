# make demo    the main job, on a practice cluster that it starts
# make test    all tests
# The rest is for those who change the code.

GO ?= go
BIN := bin
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME ?= 30s

export CGO_ENABLED ?= 0

.PHONY: build demo test lint race fuzz faults bench bench-neighbour clean bench-kubectl bench-watchers e2e

build:
	$(GO) build -trimpath -o $(BIN)/ ./cmd/...

demo: build
	sh test/demo/demo.sh $(BIN)

test:
	$(GO) test -timeout 20m ./...

lint:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

# The race detector needs cgo and a C compiler. It is for what starts goroutines; of test/sweep, for what strikes while several are
# at work.
RACE := CGO_ENABLED=1 $(GO) test -race -timeout 30m
race:
	$(RACE) -skip 'TestSnapshotGoesOnElsewhere' ./cmd/etcdsweep/... ./etcdops/... ./plan/...
	$(RACE) -run 'TestNewcomers|TestProducer|Watch|TestPaused|TestDrift|Answers|TestInterrupted|TestFollowerKilled|TestTwoOperators|TestOutage|TestToldEarly|TestAborted|TestCompacted|TestTooMany|TestNamespaceThat' ./test/sweep

fuzz:
	@for target in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		for name in $$(grep -ho '^func Fuzz[A-Za-z0-9]*' $$target/*_test.go | cut -c6-); do \
			$(GO) test $$target -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x || exit 1; \
		done; \
	done

# Every fault of test/faults in the middle of an apply of 10,000 pods; make test has the few that differ most, with fewer.
faults:
	ETCDSWEEP_FAULTS=all ETCDSWEEP_FAULT_PODS=10000 $(GO) test ./test/faults -count=1 -v -parallel 1 -timeout 30m

# What a release of Kubernetes says to the tool: test/e2e is a module of its own. Compiling that takes ten minutes of two cores,
# once; to vet it takes as long again, so that is for those who change it (cd test/e2e && go vet).
$(BIN)/e2e.test: FORCE
	cd test/e2e && $(GO) test -c -vet=off -o ../../$@ .

FORCE:

e2e: $(BIN)/e2e.test
	cd test/e2e && ../../$(BIN)/e2e.test -test.timeout 20m

# A runaway of PODS (10,000) pods removed by etcdsweep, by kubectl's requests, and with its namespace.
bench-kubectl: $(BIN)/e2e.test
	cd test/e2e && ../../$(BIN)/e2e.test -test.run '^$$' -test.bench Kubectl -test.benchtime 1x -test.timeout 3h

# What watches and informers miss when many keys share a revision, and what running controllers do to an undo.
bench-watchers: $(BIN)/e2e.test
	cd test/e2e && ../../$(BIN)/e2e.test -test.run '^$$' -test.bench 'Watchers|UndoAlive' -test.benchtime 1x -test.timeout 3h

# SCALE=1000000 measures top and plan with so many pods instead, and what a bystander feels of it; ETCD is the server to run.
SCALE ?= 0
ETCD ?=
bench: build
	$(GO) run ./test/bench -scale $(SCALE) -etcd '$(ETCD)'

# What a bystander feels while pods are removed in different ways, on one member and on three, and whether that meets the goals: some
# seven minutes a pair.
# SLOW=15ms makes each sync of etcd's log take longer.
PAIRS ?= 5
SLOW ?= 0
bench-neighbour:
	$(GO) run ./test/bench neighbour -pairs $(PAIRS) -slow $(SLOW)

clean:
	rm -rf $(BIN)
