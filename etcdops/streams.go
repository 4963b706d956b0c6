package etcdops

import "sync"

// streamSupport remembers which endpoints answered RangeStream with Unimplemented. It is kept by endpoint and never
// concluded from a version: between the tool and a new server there may be an old proxy.
type streamSupport struct {
	mu      sync.Mutex
	refused map[string]bool
}

func (s *streamSupport) usable(endpoint string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.refused[endpoint]
}

func (s *streamSupport) refuse(endpoint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused == nil {
		s.refused = map[string]bool{}
	}
	s.refused[endpoint] = true
}
