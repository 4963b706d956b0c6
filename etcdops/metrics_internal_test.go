package etcdops

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"etcdsweep/test/lab"
)

const someMetrics = `# HELP etcd_disk_wal_fsync_duration_seconds The latency distributions of fsync called by WAL.
# TYPE etcd_disk_wal_fsync_duration_seconds histogram
etcd_disk_wal_fsync_duration_seconds_bucket{le="0.001"} 2
etcd_disk_wal_fsync_duration_seconds_bucket{le="+Inf"} 6
etcd_disk_wal_fsync_duration_seconds_sum 0.25
etcd_disk_wal_fsync_duration_seconds_count 6
# TYPE etcd_server_id gauge
etcd_server_id{server_id="8e9e05c52164694d"} 1
# TYPE etcd_server_proposals_pending gauge
etcd_server_proposals_pending 3
# TYPE etcd_debugging_mvcc_slow_watcher_total gauge
etcd_debugging_mvcc_slow_watcher_total 4
# TYPE etcd_debugging_mvcc_pending_events_total gauge
etcd_debugging_mvcc_pending_events_total 1.2e+06
# TYPE etcd_server_id_of_another_sort gauge
etcd_server_id_of_another_sort{server_id="1"} 1
go_goroutines NaN
`

func TestParseMetrics(t *testing.T) {
	member, m, err := parseMetrics(strings.NewReader(someMetrics))
	if err != nil {
		t.Fatal(err)
	}
	want := &Metrics{Fsyncs: Histogram{Count: 6, Sum: 250 * time.Millisecond}, PendingProposals: 3, SlowWatchers: 4, PendingEvents: 1_200_000}
	if diff := cmp.Diff(want, m); diff != "" || member != 0x8e9e05c52164694d {
		t.Errorf("member %x: %s", member, diff)
	}
	for name, text := range map[string]string{
		"of nobody":       strings.ReplaceAll(someMetrics, "etcd_server_id{", "etcd_server_no{"),
		"of two":          strings.Replace(someMetrics, "etcd_server_id{", "etcd_server_id{server_id=\"1\"} 1\netcd_server_id{", 1),
		"not a number":    strings.Replace(someMetrics, "8e9e", "xyz", 1),
		"cut off":         someMetrics[:strings.Index(someMetrics, "8e9e")],
		"another format":  "<html></html>",
		"an endless line": strings.Repeat("x", 1<<20),
	} {
		if member, m, err := parseMetrics(strings.NewReader(text)); err == nil {
			t.Errorf("%s: member %x, %+v", name, member, m)
		}
	}
}

func FuzzMetrics(f *testing.F) {
	f.Add(someMetrics)
	f.Add("etcd_server_id{server_id=\"1\"} 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		_, m, err := parseMetrics(strings.NewReader(text))
		if err != nil {
			return
		}
		if m.Fsyncs.Sum < 0 || m.Commits.Sum < 0 || m.PendingProposals < 0 || m.SlowWatchers < 0 || m.PendingEvents < 0 {
			t.Errorf("%+v", m)
		}
	})
}

func TestMetricsURLs(t *testing.T) {
	m := Member{ClientURLs: []string{"https://10.0.0.1:2379", "unix://etcd.sock", "https://m1.example:2379"}}
	want := []string{
		"http://given:1/metrics",
		"https://127.0.0.1:2379/metrics", "https://10.0.0.1:2379/metrics", "https://m1.example:2379/metrics",
		"http://127.0.0.1:2381/metrics", "http://10.0.0.1:2381/metrics", "http://m1.example:2381/metrics",
	}
	if diff := cmp.Diff(want, metricsURLs([]string{"http://given:1/metrics"}, m, "https://127.0.0.1:2379")); diff != "" {
		t.Error(diff)
	}
}

func TestMetricsEndpoints(t *testing.T) {
	cfg := Config{MetricsEndpoints: []string{"http://a:1", "https://b:2/", "http://c:3/etcd/metrics"}}
	urls, err := cfg.metricsEndpoints()
	if diff := cmp.Diff([]string{"http://a:1/metrics", "https://b:2/metrics", "http://c:3/etcd/metrics"}, urls); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for _, bad := range []string{"a:1", "ftp://a:1", "http://", "http://user:word@a:1", "%"} {
		if urls, err := (Config{MetricsEndpoints: []string{bad}}).metricsEndpoints(); err == nil {
			t.Errorf("%s: %v", bad, urls)
		}
	}
}

// Metrics are believed only if they are of the member that they were looked for, and are asked for in turns.
func TestMetricsAreTheMembers(t *testing.T) {
	cluster, err := lab.Start(t.Context(), lab.Config{Dir: t.TempDir(), PlainText: true, NoFsync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	client, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	list, err := client.MemberList(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	member := Member{ID: list.Members[0].ID}
	other := Member{ID: member.ID + 1}

	served := cluster.Endpoints()[0]
	l := newListeners(Config{MetricsEndpoints: []string{served + "/nothing", served + "/metrics"}}, nil)
	defer l.close()
	for range len(metricsURLs(l.given, other, served)) {
		if m := l.metrics(t.Context(), other, served); m != nil {
			t.Errorf("another member's: %+v", m)
		}
	}
	if at := l.turn(other, served, time.Now()); at != "" {
		t.Errorf("tried again at once, at %s", at)
	}
	if at := l.turn(other, served, time.Now().Add(metricsAgain)); at != served+"/nothing" {
		t.Errorf("tried later at %q", at)
	}

	if m := l.metrics(t.Context(), member, served); m != nil {
		t.Errorf("at a wrong address: %+v", m)
	}
	if m := l.metrics(t.Context(), member, served); m == nil {
		t.Error("not found at the second address")
	}
	if at := l.turn(member, served, time.Now()); at != "" {
		t.Errorf("asked again at once, at %s", at)
	}
	later := time.Now().Add(metricsEvery)
	if at := l.turn(member, served, later); at != served+"/metrics" {
		t.Errorf("asked later at %q", at)
	}
	l.learn(member.ID, served+"/metrics", false, later)
	if at := l.turn(member, served, later.Add(metricsEvery)); at != served+"/metrics" {
		t.Errorf("looked for at %q after a failure", at)
	}
	if l.http.Transport.(*http.Transport).Proxy != nil {
		t.Error("asks a proxy")
	}
}
