# make demo    the main job, on a practice cluster that it starts
# make test    all tests
# The rest is for those who change the code.

GO ?= go
BIN := bin
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME ?= 30s

export CGO_ENABLED ?= 0

.PHONY: build demo test lint race fuzz bench clean

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

# The race detector needs cgo and a C compiler. It is for the packages that start goroutines; what only does the same again,
# many times or on a larger cluster, is left to make test.
race:
	CGO_ENABLED=1 $(GO) test -race -timeout 30m -skip 'TestDiskFaults|TestKilled|TestBadLine|TestIncident|TestZoo|TestCollateral' ./cmd/etcdsweep/... ./etcdops/... ./plan/... ./test/sweep/...

fuzz:
	@for target in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		for name in $$(grep -ho '^func Fuzz[A-Za-z0-9]*' $$target/*_test.go | cut -c6-); do \
			$(GO) test $$target -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x || exit 1; \
		done; \
	done

bench: build
	$(GO) run ./test/bench

clean:
	rm -rf $(BIN)
