package etcdops

import "testing"

func TestPageLimit(t *testing.T) {
	const kib, mib = 1 << 10, 1 << 20
	for name, c := range map[string]struct {
		opts        ScanOptions
		keys, bytes int64
		want        int64
	}{
		"the first page":         {ScanOptions{}, 0, 0, firstPageKeys},
		"2 MiB by what was read": {ScanOptions{}, 1000, 2 * mib, 1000},
		"and 10,000 keys":        {ScanOptions{}, 10240 * kib, 1024 * mib, defaultPageKeys},
		"what is asked for":      {ScanOptions{PageBytes: mib}, 1024 * kib, 1024 * mib, kib},
		"large values":           {ScanOptions{}, 100, 100 * mib, minPageKeys},
		"keys only":              {ScanOptions{KeysOnly: true}, 1000, 100 * mib, defaultPageKeysOnly},
	} {
		s := scan{opts: c.opts.withDefaults(), keys: c.keys, bytes: c.bytes}
		if got := s.pageLimit(); got != c.want {
			t.Errorf("%s: %d keys, want %d", name, got, c.want)
		}
	}
}
