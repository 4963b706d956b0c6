package etcdops

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"etcdsweep/test/lab"
)

// lone starts one member in plain text, with authentication if there is a password, which is root's.
func lone(t *testing.T, password string) *lab.Cluster {
	t.Helper()
	cluster, err := lab.Start(t.Context(), lab.Config{Dir: t.TempDir(), PlainText: true, NoFsync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			t.Error(err)
		}
	})
	if password == "" {
		return cluster
	}
	admin, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	for _, step := range []func() error{
		func() error { _, err := admin.UserAdd(t.Context(), "root", password); return err },
		func() error { _, err := admin.UserGrantRole(t.Context(), "root", "root"); return err },
		func() error { _, err := admin.AuthEnable(t.Context()); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return cluster
}

func connected(t *testing.T, cfg Config) *Client {
	t.Helper()
	client, _, err := Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

// A member is known by the endpoint that was given for it, wherever it says that it is, whichever comes first in the alphabet.
func TestGivenEndpointsStay(t *testing.T) {
	advertised := lone(t, "").Endpoints()[0]
	for _, host := range []string{"0.0.0.0", "localhost"} {
		given := strings.Replace(advertised, "127.0.0.1", host, 1)
		if given == advertised {
			t.Fatalf("the member advertises %s", advertised)
		}
		client := connected(t, Config{Endpoints: []string{given}})
		for range 2 {
			vitals, err := client.Vitals(t.Context())
			if err != nil || vitals[0].Err != nil {
				t.Fatal(err, vitals)
			}
			known := client.roster.known(time.Now())
			if at := known.at[vitals[0].ID]; vitals[0].Endpoint != given || at != given {
				t.Errorf("seen at %s, known at %s, want %s", vitals[0].Endpoint, at, given)
			}
			if order := readOrder(client.Endpoints(), vitals); !slices.Equal(order, []string{given}) {
				t.Errorf("reads try %s", order)
			}
		}
	}
}

// An endpoint that says nothing is not waited for longer than the others, when it is logged in at for the first time.
func TestLoginIsBounded(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	const password = "secret"
	client := connected(t, Config{Endpoints: lone(t, password).Endpoints(), Username: "root", Password: password, DialTimeout: time.Minute})
	endpoint := "http://" + silent.Addr().String()
	for range 2 {
		began := time.Now()
		answers := client.statuses(t.Context(), []string{endpoint}, 100*time.Millisecond)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("waited for %s", took)
		}
		if err, ok := answers[0].err.(*EndpointError); !ok || err.Cause != CauseSilent || err.Endpoint != endpoint {
			t.Errorf("%v", answers[0].err)
		}
	}
}
