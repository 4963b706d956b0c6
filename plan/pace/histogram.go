package pace

import (
	"math"
	"time"
)

// Each bucket of a record is two percent wider than the one before, from a microsecond on.
const (
	bucketGrowth = 1.02
	buckets      = 1000 // up to six minutes
)

// record counts latencies in memory that does not grow with their number.
type record struct {
	counts [buckets]int64
	total  int64
}

// add counts a latency.
func (r *record) add(l time.Duration) {
	i := 0
	if us := float64(l) / float64(time.Microsecond); us > 1 {
		i = min(int(math.Log(us)/math.Log(bucketGrowth)), buckets-1)
	}
	r.counts[i]++
	r.total++
}

// addEvery counts a latency of something that should have been asked for again each interval: what would have been asked
// meanwhile would have waited for the rest of it.
func (r *record) addEvery(l, interval time.Duration) {
	r.add(l)
	for l -= interval; l > interval; l -= interval {
		r.add(l)
	}
}

func (r *record) quantiles() Quantiles {
	return Quantiles{Count: r.total, P50: r.quantile(0.50), P95: r.quantile(0.95), P99: r.quantile(0.99)}
}

func (r *record) quantile(q float64) Latency {
	rank := int64(math.Ceil(q * float64(r.total)))
	if rank == 0 {
		return 0
	}
	for i, n := range r.counts {
		if rank -= n; rank <= 0 {
			return Latency(math.Pow(bucketGrowth, float64(i)+0.5) * float64(time.Microsecond))
		}
	}
	return 0
}
