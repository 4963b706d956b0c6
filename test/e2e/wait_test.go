package e2e

import (
	"context"
	"testing"
	"time"
)

const patience = 5 * time.Minute // for what the control plane does by itself, on a machine that has other things to do

// eventually asks until something is so. An error, or the end of patience, ends the test.
func eventually(t testing.TB, what string, is func(context.Context) (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		switch yes, err := is(ctx); {
		case err != nil:
			t.Fatalf("%s: %v", what, err)
		case yes:
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: waited for it in vain: %v", what, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// holds asks again and again, for so long, and ends the test when something is not so any more.
func holds(t testing.TB, what string, period time.Duration, is func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), period)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := is(t.Context()); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// ignoring returns nil for errors that are expected.
func ignoring(err error, expected func(error) bool) error {
	if expected(err) {
		return nil
	}
	return err
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// got returns a value, and ends the test if there is an error instead.
func got[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		must(t, err)
		return value
	}
}
