package census

import "time"

const hour = 60 // minutes

// births counts what was made in each minute of the hour before the newest that was made. The zero value is ready for use.
type births struct {
	last   int64 // minute of the newest, since 1970
	counts [hour]uint32
}

func (b *births) add(created time.Time) {
	if minute := created.Unix() / 60; minute > 0 {
		b.count(minute, 1)
	}
}

func (b *births) count(minute int64, n uint32) {
	if minute > b.last {
		for m := max(b.last+1, minute-hour+1); m <= minute; m++ {
			b.counts[m%hour] = 0
		}
		b.last = minute
	}
	if minute > b.last-hour {
		b.counts[minute%hour] += n
	}
}

func (b *births) merge(other *births) {
	for minute := max(other.last-hour+1, 1); minute <= other.last; minute++ {
		if n := other.counts[minute%hour]; n > 0 {
			b.count(minute, n)
		}
	}
}

// until returns the counts of the hour that ends with a minute, which is none before the last.
func (b *births) until(minute int64) []int64 {
	counts := make([]int64, hour)
	for m := max(b.last-hour+1, minute-hour+1, 1); m <= b.last; m++ {
		counts[m-(minute-hour+1)] = int64(b.counts[m%hour])
	}
	return counts
}
