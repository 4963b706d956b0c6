package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"etcdsweep/decode"
	"etcdsweep/plan/controllers"
)

const (
	prefix       = "/registry"
	leaseKey     = prefix + "/leases/kube-system/kube-controller-manager"
	endpointsKey = prefix + "/services/endpoints/kube-system/kube-controller-manager"
)

func lease(holder string) []byte {
	return []byte(fmt.Sprintf(`{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","spec":{"holderIdentity":%q}}`, holder))
}

func endpoints(holder string) []byte {
	return []byte(fmt.Sprintf(`{"apiVersion":"v1","kind":"Endpoints","metadata":{"annotations":{"control-plane.alpha.kubernetes.io/leader":%q}}}`,
		fmt.Sprintf(`{"holderIdentity":%q}`, holder)))
}

// script is a source whose answers depend on the time since it was made: what a real etcd cannot be made to do to the second.
type script struct {
	begun  time.Time
	answer func(key string, second float64) (value []byte, revision int64, err error)
}

func (s *script) Get(_ context.Context, key string) (*decode.Record, error) {
	value, revision, err := s.answer(key, time.Since(s.begun).Seconds())
	if err != nil || value == nil {
		return nil, err
	}
	return &decode.Record{Key: key, Value: value, ModRevision: revision}, nil
}

// renewals is how often a leader has written that writes every 2 s, a little after the full second, until it ends.
func renewals(second, until float64) int64 { return 100 + int64((min(second, until)+1.7)/2) }

var (
	errDown   = errors.New("etcdserver: request timed out")
	errDenied = denied{errors.New("etcdserver: permission denied")}
)

type denied struct{ error }

func (denied) NotDone() bool   { return true }
func (denied) Temporary() bool { return false }

const never = 1e9

func only(key string, value []byte, until float64) func(string, float64) ([]byte, int64, error) {
	return func(asked string, second float64) ([]byte, int64, error) {
		if asked != key {
			return nil, 0, nil
		}
		return value, renewals(second, until), nil
	}
}

// Whether it is alive is known in the shortest time that is certain, and is never taken from reads that failed.
func TestAwait(t *testing.T) {
	tests := []struct {
		name   string
		answer func(key string, second float64) ([]byte, int64, error)
		after  time.Duration // that Await is called after the start
		least  time.Duration // that the answer takes
		most   time.Duration
		want   controllers.Sight // Still aside
	}{
		{
			name: "alive", answer: only(leaseKey, lease("a"), never), least: time.Second, most: 4 * time.Second,
			want: controllers.Sight{Found: true, Key: leaseKey, Holder: "a", Moves: 1, Holders: []string{"a"}, Moving: true},
		},
		{
			name: "alive before 1.17", answer: only(endpointsKey, endpoints("e"), never), least: time.Second, most: 4 * time.Second,
			want: controllers.Sight{Found: true, Key: endpointsKey, Holder: "e", Moves: 1, Holders: []string{"e"}, Moving: true},
		},
		{
			name: "record that cannot be read", answer: only(leaseKey, []byte("k8s:enc:aescbc:v1:k:x"), never), least: time.Second, most: 4 * time.Second,
			want: controllers.Sight{Found: true, Key: leaseKey, Moves: 1, Moving: true},
		},
		{
			name: "stopped", answer: only(leaseKey, lease("a"), 0), least: 15 * time.Second, most: 17 * time.Second,
			want: controllers.Sight{Found: true, Key: leaseKey, Holder: "a"},
		},
		{
			name: "stopped, known before", answer: only(leaseKey, lease("a"), 0), after: time.Minute, most: 2 * time.Second,
			want: controllers.Sight{Found: true, Key: leaseKey, Holder: "a"},
		},
		{
			name: "alive, then stopped just before", answer: only(leaseKey, lease("a"), 30.35), after: 30400 * time.Millisecond, least: 29 * time.Second, most: 32 * time.Second,
			want: controllers.Sight{Found: true, Key: leaseKey, Holder: "a", Moves: 16, Holders: []string{"a"}},
		},
		{
			name: "absent", answer: only("", nil, 0), least: 15 * time.Second, most: 17 * time.Second,
			want: controllers.Sight{},
		},
		{
			name: "endpoints of a service", answer: only(endpointsKey, []byte(`{"apiVersion":"v1","kind":"Endpoints"}`), never), least: 15 * time.Second, most: 17 * time.Second,
			want: controllers.Sight{},
		},
		{
			name: "made while it is awaited", answer: func(key string, second float64) ([]byte, int64, error) {
				if key == leaseKey && second > 5 {
					return lease("a"), 7, nil
				}
				return nil, 0, nil
			}, least: 5 * time.Second, most: 7 * time.Second,
			want: controllers.Sight{Found: true, Key: leaseKey, Holder: "a", Moves: 1, Holders: []string{"a"}, Moving: true},
		},
		{
			name: "deleted while it is awaited", answer: func(key string, second float64) ([]byte, int64, error) {
				if key == leaseKey && second < 5.5 {
					return lease("a"), 7, nil
				}
				return nil, 0, nil
			}, least: 20 * time.Second, most: 23 * time.Second,
			want: controllers.Sight{},
		},
		{
			name: "released", answer: func(key string, second float64) ([]byte, int64, error) {
				switch {
				case key != leaseKey:
					return nil, 0, nil
				case second > 5.5:
					return lease(""), 8, nil
				}
				return lease("a"), 7, nil
			}, least: 20 * time.Second, most: 23 * time.Second,
			want: controllers.Sight{Found: true, Key: leaseKey},
		},
		{
			name: "an old annotation beside a lease that moves", answer: func(key string, second float64) ([]byte, int64, error) {
				if key == endpointsKey {
					return endpoints("years ago"), 3, nil
				}
				return lease("a"), renewals(second, never), nil
			}, least: time.Second, most: 4 * time.Second,
			want: controllers.Sight{Found: true, Key: leaseKey, Holder: "a", Moves: 1, Holders: []string{"a"}, Moving: true},
		},
		{
			name: "an annotation that moves beside a lease that stands", answer: func(key string, second float64) ([]byte, int64, error) {
				if key == leaseKey {
					return lease("b"), 3, nil
				}
				return endpoints("a"), renewals(second, never), nil
			}, least: time.Second, most: 4 * time.Second,
			want: controllers.Sight{Found: true, Key: endpointsKey, Holder: "a", Moves: 1, Holders: []string{"a"}, Moving: true},
		},
		{
			name: "no answers for a minute", answer: func(key string, second float64) ([]byte, int64, error) {
				if second > 4.5 && second < 64.5 {
					return nil, 0, errDown
				}
				return only(leaseKey, lease("a"), 0)(key, second)
			}, least: 75 * time.Second, most: 78 * time.Second,
			want: controllers.Sight{Found: true, Key: leaseKey, Holder: "a"},
		},
		{
			name: "no answers from the start", answer: func(key string, second float64) ([]byte, int64, error) {
				if second < 60.5 {
					return nil, 0, errDown
				}
				return only(leaseKey, lease("a"), never)(key, second)
			}, least: 61 * time.Second, most: 65 * time.Second,
			want: controllers.Sight{Found: true, Key: leaseKey, Holder: "a", Moves: 1, Holders: []string{"a"}, Moving: true},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := watch(t, test.answer)
				after(test.after)
				begun := time.Now()
				sight, err := w.Await(t.Context(), controllers.DefaultStill)
				if err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begun); took < test.least || took > test.most {
					t.Errorf("took %v, want %v to %v", took, test.least, test.most)
				}
				if still := sight.Still >= sight.Needs(controllers.DefaultStill); still == sight.Moving {
					t.Errorf("still for %v, moving %t", sight.Still, sight.Moving)
				}
				sight.Still, sight.Reads = 0, 0
				if diff := cmp.Diff(test.want, sight); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		})
	}
}

// A permission that is missing does not come by waiting.
func TestAwaitDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, func(string, float64) ([]byte, int64, error) { return nil, 0, errDenied })
		begun := time.Now()
		_, err := w.Await(t.Context(), controllers.DefaultStill)
		if !errors.Is(err, errDenied) || time.Since(begun) > 0 {
			t.Errorf("error %v after %v", err, time.Since(begun))
		}
		if sight := w.Sight(); !errors.Is(sight.Err, errDenied) || sight.Reads != 0 {
			t.Errorf("sight %+v", sight)
		}
	})
}

// The manager is stopped on one node after the other: the last one to move is told, and then it stands still.
func TestAwaitStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, func(key string, second float64) ([]byte, int64, error) {
			switch {
			case key != leaseKey:
				return nil, 0, nil
			case second < 10:
				return lease("a"), renewals(second, 6), nil
			}
			return lease("b"), renewals(second, 20), nil
		})
		var holders []string
		sight, err := w.AwaitStill(t.Context(), controllers.DefaultStill, func(s controllers.Sight) {
			if n := len(holders); n == 0 || holders[n-1] != s.Holder {
				holders = append(holders, s.Holder)
			}
		})
		if err != nil || sight.Moving || !sight.Found || sight.Holder != "b" {
			t.Errorf("sight %+v, error %v", sight, err)
		}
		if !slices.Equal(holders, []string{"a", "b"}) || !slices.Equal(sight.Holders, holders) {
			t.Errorf("observed %q, holders %q", holders, sight.Holders)
		}
		if took := w.Sight(); took.Moving {
			t.Errorf("and yet it moves: %+v", took)
		}
	})
}

// A standby takes over as late as client-go lets it: 23.8 s after the last write. It is not taken for nobody.
func TestAwaitStillSeesAStandby(t *testing.T) {
	const stops = 20.3 // when it writes for the last time
	const takeover = stops + 4.4 + 15 + 4.4
	answer := func(key string, second float64) ([]byte, int64, error) {
		switch {
		case key != leaseKey:
			return nil, 0, nil
		case second < takeover:
			return lease("a"), renewals(second, stops), nil
		}
		return lease("b"), 1000 + renewals(second, 60), nil
	}
	for name, await := range map[string]func(*controllers.Watch, context.Context) (controllers.Sight, error){
		"AwaitStill": func(w *controllers.Watch, ctx context.Context) (controllers.Sight, error) {
			return w.AwaitStill(ctx, controllers.DefaultStill, nil)
		},
		"Await": func(w *controllers.Watch, ctx context.Context) (controllers.Sight, error) {
			return w.Await(ctx, controllers.DefaultStill)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := watch(t, answer)
				after(22 * time.Second) // it has moved, and stands still
				sight, err := await(w, t.Context())
				if err != nil || !slices.Equal(sight.Holders, []string{"a", "b"}) {
					t.Fatalf("sight %+v, error %v: want to have seen the standby", sight, err)
				}
				if alive := name == "Await"; sight.Moving != alive {
					t.Errorf("moving %t, want %t", sight.Moving, alive)
				}
			})
		})
	}
}

func TestAwaitMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, func(key string, second float64) ([]byte, int64, error) {
			switch {
			case key != leaseKey:
				return nil, 0, nil
			case second < 40:
				return lease("a"), 5, nil
			}
			return lease("b"), renewals(second, never), nil
		})
		begun := time.Now()
		sight, err := w.AwaitMove(t.Context(), nil)
		if took := time.Since(begun); err != nil || !sight.Moving || sight.Holder != "b" || took < 40*time.Second || took > 45*time.Second {
			t.Errorf("sight %+v, error %v after %v", sight, err, took)
		}
	})
}

// Waiting ends with the caller's context, and with the watch, and says what the last read said.
func TestAwaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := func(string, float64) ([]byte, int64, error) { return nil, 0, errDown }
		w := watch(t, down)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := w.Await(ctx, time.Second); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errDown) {
			t.Errorf("error %v, want the deadline and the read's", err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		ending := controllers.Start(ctx, &script{time.Now(), down}, prefix, time.Second, time.Now)
		time.AfterFunc(3*time.Second, cancel)
		if _, err := ending.Await(t.Context(), time.Second); err == nil || !strings.Contains(err.Error(), "watch has ended") {
			t.Errorf("error %v, want the watch's end", err)
		}
		ending.Wait()
	})
}

// watch starts a watch of a script, which ends with the test.
func watch(t *testing.T, answer func(string, float64) ([]byte, int64, error)) *controllers.Watch {
	ctx, cancel := context.WithCancel(t.Context())
	w := controllers.Start(ctx, &script{time.Now(), answer}, prefix, controllers.DefaultInterval, time.Now)
	t.Cleanup(func() {
		cancel()
		w.Wait()
	})
	return w
}

// after lets time pass, in a bubble of synctest.
func after(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
}
