package pace

import (
	"fmt"
	"math"
	"time"
)

// Config is how fast a run may go at most, and what slows it down. See [Defaults].
type Config struct {
	Rate        float64 // writes a second at most; 0 for unpaced: only pauses and ends are left then, and nothing is held up
	MinRate     float64 // below which nothing but a pause brings it
	StartRate   float64 // at the beginning, and after a pause
	Concurrency int     // writes in flight at the full rate; fewer below it

	// ScanRate and SnapshotRate are bytes a second at most, 0 for as fast as etcd can. They begin with an eighth, which is always
	// left, and rise and fall for the same reasons as the rate of writes. A snapshot is not slowed to less than leastSnapshotRate.
	ScanRate, SnapshotRate float64

	// Baseline is how long the cluster is measured before anything is done; 0 takes the first seconds for it.
	Baseline time.Duration
	// ReadsOnly says that nothing is written: the run is slowed down, but never paused or ended.
	ReadsOnly bool

	Thresholds
}

// defaultRate is how many writes a second a sound cluster bears beside all else.
const defaultRate = 500

// leastSnapshotRate is what is always left of a higher SnapshotRate, in bytes a second. For as long as a snapshot takes the member cannot
// use again what is freed meanwhile, and its database grows towards its quota. So the 8 GiB that etcd recommends at most take
// 35 minutes. Who asks for less than that gets it.
const leastSnapshotRate = 4 << 20

// DegradedRate is the most writes a second on a cluster that had a member down when the run began.
const DegradedRate = 100

// Thresholds say when the pace reacts. What is compared with a baseline has to leave it by a ratio and by a margin: that of a
// quick cluster doubles by chance.
type Thresholds struct {
	// A p95 above HoldRatio x baseline, and above baseline + HoldOver, lets the rate rise no more. One above HalveRatio x
	// baseline, and above baseline + HalveOver, halves it; so does one above HalveAbove, whatever the baseline.
	HoldRatio, HalveRatio float64
	HoldOver, HalveOver   time.Duration
	HalveAbove            time.Duration

	// Each of these halves the rate when a member's value is that much above its baseline.
	ApplyLag         float64       // entries committed and not yet applied
	SlowWatchers     float64       // watchers that are behind
	PendingEvents    float64       // events that wait for them
	PendingProposals float64       // writes that wait to be committed
	DiskOver         time.Duration // mean of a sync of the log, and of a commit of the database, over the last seconds
	MemberOver       time.Duration // answers of a member's own status, two in a row

	// MemberWait is how long the run stands still for a member that was lost. Then it goes on, at MinRate, as long as there
	// is a quorum.
	MemberWait time.Duration
	// CriticalAfter is how long there may be no quorum before the run is ended.
	CriticalAfter time.Duration
	// Calm is how long the cause of a pause must be gone before the run goes on.
	Calm time.Duration
}

// SickAbove is the p95 of a baseline that is none: the run begins at MinRate, and takes the first lower one for its baseline.
const SickAbove = 100 * time.Millisecond

// Defaults returns what is right for a live cluster.
func Defaults() Config {
	return Config{
		Rate:         defaultRate,
		MinRate:      10,
		StartRate:    50,
		Concurrency:  16,
		ScanRate:     16 << 20,
		SnapshotRate: 32 << 20,
		Baseline:     3 * time.Second,
		Thresholds: Thresholds{
			HoldRatio:        1.5,
			HalveRatio:       2,
			HoldOver:         2 * time.Millisecond,
			HalveOver:        5 * time.Millisecond,
			HalveAbove:       250 * time.Millisecond,
			ApplyLag:         500,
			SlowWatchers:     10,
			PendingEvents:    1000,
			PendingProposals: 100,
			DiskOver:         20 * time.Millisecond,
			MemberOver:       100 * time.Millisecond,
			MemberWait:       time.Minute,
			CriticalAfter:    time.Minute,
			Calm:             3 * time.Second,
		},
	}
}

// Validate returns what makes no sense, named by its flag.
func (c *Config) Validate() error {
	for _, row := range []struct {
		flag         string
		value, least float64
	}{
		{"--rate", c.Rate, 0},
		{"--min-rate", c.MinRate, 0.1},
		{"--start-rate", c.StartRate, 0.1},
		{"--concurrency", float64(c.Concurrency), 1},
		{"--hold-ratio", c.HoldRatio, 1},
		{"--halve-ratio", c.HalveRatio, 1},
		{"--apply-lag", c.ApplyLag, 0},
		{"--slow-watchers", c.SlowWatchers, 0},
		{"--pending-events", c.PendingEvents, 0},
		{"--pending-proposals", c.PendingProposals, 0},
	} {
		if !(row.value >= row.least) || math.IsInf(row.value, 0) { // NaN is not at least anything
			return fmt.Errorf("%s %v: want %g or more", row.flag, row.value, row.least)
		}
	}
	for _, row := range []struct {
		flag         string
		value, least time.Duration
	}{
		{"--baseline", c.Baseline, 0},
		{"--hold-over", c.HoldOver, 0},
		{"--halve-over", c.HalveOver, 0},
		{"--halve-above", c.HalveAbove, time.Millisecond},
		{"--disk-over", c.DiskOver, 0},
		{"--member-over", c.MemberOver, 0},
		{"--calm", c.Calm, 0},
		{"--member-wait", c.MemberWait, 0},
		{"--critical-after", c.CriticalAfter, time.Second},
	} {
		if row.value < row.least {
			return fmt.Errorf("%s %s: want %s or more", row.flag, row.value, row.least)
		}
	}
	return nil
}
