package etcdops

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Metrics is what a member's /metrics tell of its load. What a server doesn't have is zero.
type Metrics struct {
	Fsyncs  Histogram // of its write-ahead log: etcd_disk_wal_fsync_duration_seconds
	Commits Histogram // of its database: etcd_disk_backend_commit_duration_seconds

	PendingProposals int64 // etcd_server_proposals_pending
	SlowWatchers     int64 // etcd_debugging_mvcc_slow_watcher_total
	PendingEvents    int64 // etcd_debugging_mvcc_pending_events_total

	Quota int64 // of the database file, in bytes: etcd_server_quota_backend_bytes; 0 if it is not told
}

// Histogram counts durations since the member was started.
type Histogram struct {
	Count uint64
	Sum   time.Duration
}

const (
	metricServerID         = "etcd_server_id"
	metricFsyncs           = "etcd_disk_wal_fsync_duration_seconds"
	metricCommits          = "etcd_disk_backend_commit_duration_seconds"
	metricPendingProposals = "etcd_server_proposals_pending"
	metricSlowWatchers     = "etcd_debugging_mvcc_slow_watcher_total"
	metricPendingEvents    = "etcd_debugging_mvcc_pending_events_total"
	metricQuota            = "etcd_server_quota_backend_bytes"
)

const (
	maxMetricsBytes = 16 << 20 // of one answer; etcd's has some 150 KiB
	maxMetricLine   = 64 << 10
)

// parseMetrics reads the text format, and tells which member it is of.
func parseMetrics(r io.Reader) (member uint64, m *Metrics, err error) {
	lines, err := metricLines(io.LimitReader(r, maxMetricsBytes))
	if err != nil {
		return 0, nil, err
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(lines)
	if err != nil {
		return 0, nil, err
	}
	if member, err = serverID(families[metricServerID]); err != nil {
		return 0, nil, err
	}
	return member, &Metrics{
		Fsyncs:           histogram(families[metricFsyncs]),
		Commits:          histogram(families[metricCommits]),
		PendingProposals: gauge(families[metricPendingProposals]),
		SlowWatchers:     gauge(families[metricSlowWatchers]),
		PendingEvents:    gauge(families[metricPendingEvents]),
		Quota:            gauge(families[metricQuota]),
	}, nil
}

// metricLines keeps the lines of the metrics that are wanted: one in thirty, and the parser is not cheap.
func metricLines(r io.Reader) (io.Reader, error) {
	var kept bytes.Buffer
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4<<10), maxMetricLine)
	for lines.Scan() {
		line := lines.Bytes()
		if wantedMetric(bytes.TrimPrefix(line, []byte("# TYPE "))) {
			kept.Write(line)
			kept.WriteByte('\n')
		}
	}
	return &kept, lines.Err()
}

func wantedMetric(line []byte) bool {
	for _, name := range []string{metricServerID, metricFsyncs, metricCommits, metricPendingProposals, metricSlowWatchers, metricPendingEvents, metricQuota} {
		if len(line) > len(name) && string(line[:len(name)]) == name && bytes.IndexByte([]byte("_{ "), line[len(name)]) >= 0 {
			return true
		}
	}
	return false
}

// serverID returns the member that serves them. Several servers in one process share their metrics: those are nobody's.
func serverID(family *dto.MetricFamily) (uint64, error) {
	var ids []string
	for _, metric := range family.GetMetric() {
		for _, label := range metric.Label {
			if label.GetName() == "server_id" && metric.Gauge.GetValue() == 1 {
				ids = append(ids, label.GetValue())
			}
		}
	}
	if len(ids) != 1 {
		return 0, fmt.Errorf("%s: of %d servers, want 1", metricServerID, len(ids))
	}
	return strconv.ParseUint(ids[0], 16, 64)
}

func gauge(family *dto.MetricFamily) int64 {
	for _, metric := range family.GetMetric() {
		if v := metric.Gauge.GetValue(); v >= 0 && v < math.MaxInt64 { // NaN is not at least 0
			return int64(v)
		}
	}
	return 0
}

func histogram(family *dto.MetricFamily) Histogram {
	for _, metric := range family.GetMetric() {
		told := metric.GetHistogram()
		return Histogram{Count: told.GetSampleCount(), Sum: seconds(told.GetSampleSum())}
	}
	return Histogram{}
}

// seconds turns a number of them into a duration; one that is none, or too large, into the nearest.
func seconds(s float64) time.Duration {
	switch {
	case !(s > 0): // NaN, too
		return 0
	case s >= math.MaxInt64/float64(time.Second):
		return math.MaxInt64
	}
	return time.Duration(s * float64(time.Second))
}
