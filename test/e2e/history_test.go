package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const registry = "/registry/"

// change is what one revision did to one key.
type change struct {
	key      string
	verb     string // "create", "update" or "delete"
	revision int64
}

func (c change) String() string {
	return fmt.Sprintf("%s %s at revision %d", c.verb, c.key, c.revision)
}

// history is everything that has happened in etcd since revision 1.
type history struct {
	mu      sync.Mutex
	changes []change
	failed  error
	seen    int64 // the last revision
}

// record begins a history, which ends with the test.
func (c *control) record() *history {
	h := &history{}
	ctx, cancel := context.WithCancel(context.Background())
	client := c.etcdClient()
	done := make(chan struct{})
	c.t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		for response := range client.Watch(ctx, registry, clientv3.WithPrefix(), clientv3.WithRev(1)) {
			h.add(&response)
		}
	}()
	return h
}

func (h *history) add(response *clientv3.WatchResponse) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed = errors.Join(h.failed, response.Err())
	for _, event := range response.Events {
		verb := "update"
		switch {
		case event.Type == mvccpb.DELETE:
			verb = "delete"
		case event.IsCreate():
			verb = "create"
		}
		h.changes = append(h.changes, change{string(event.Kv.Key), verb, event.Kv.ModRevision})
		h.seen = event.Kv.ModRevision
	}
}

// until waits until a history has come to a revision of a key of Kubernetes, and returns it.
func (h *history) until(t testing.TB, revision int64) (changes []change) {
	t.Helper()
	eventually(t, fmt.Sprintf("etcd's history up to revision %d", revision), func(context.Context) (bool, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		changes = h.changes
		return h.seen >= revision, h.failed
	})
	return changes
}

// await waits until there is a change of a sort.
func (h *history) await(t testing.TB, what string, is func(change) bool) {
	t.Helper()
	eventually(t, what, func(context.Context) (bool, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		return slices.ContainsFunc(h.changes, is), h.failed
	})
}

// deleted returns the keys under a prefix that were deleted after a revision. None of them comes back in these tests.
func (h *history) deleted(prefix string, after int64) (keys []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ch := range h.changes {
		if ch.revision > after && ch.verb == "delete" && strings.HasPrefix(ch.key, prefix) {
			keys = append(keys, ch.key)
		}
	}
	return keys
}

// unasked returns the changes that no apiserver was asked for: somebody has made them in etcd.
func unasked(changes []change, requests map[request]int) (unasked []change) {
	nameless := maps.Clone(requests) // those without a name account for as many creations each
	for _, c := range changes {
		resource, namespace, name := parseKey(c.key)
		if internal(resource) {
			continue
		}
		asked := func(verbs ...string) bool {
			for _, verb := range verbs {
				if requests[request{verb, resource, namespace, name}] > 0 {
					return true
				}
			}
			return false
		}
		switch c.verb {
		case "create":
			somebody := request{"create", resource, namespace, ""}
			if asked("create", "patch", "update") {
				continue
			}
			if nameless[somebody] > 0 {
				nameless[somebody]--
				continue
			}
		case "update": // to delete gracefully is one, too, and so is what a Binding or a status does to a pod
			if asked("update", "patch", "delete", "create") {
				continue
			}
		case "delete":
			if asked("delete") {
				continue
			}
		}
		unasked = append(unasked, c)
	}
	return unasked
}

// internal reports whether the apiserver keeps a resource for itself, without requests.
func internal(resource string) bool {
	switch resource {
	case "ranges", "masterleases", "peerserverleases":
		return true
	}
	return false
}

// parseKey returns what a key is about, in the API's words.
func parseKey(key string) (resource, namespace, name string) {
	path := strings.Split(strings.TrimPrefix(key, registry), "/")
	switch {
	case path[0] == "services": // services/specs, services/endpoints
		resource, path = map[string]string{"specs": "services", "endpoints": "endpoints"}[path[1]], path[2:]
	case path[0] == "minions":
		resource, path = "nodes", path[1:]
	case strings.Contains(path[0], "."): // a group
		resource, path = path[1], path[2:]
	default:
		resource, path = path[0], path[1:]
	}
	if len(path) == 1 {
		return resource, "", path[0]
	}
	return resource, path[0], strings.Join(path[1:], "/")
}
