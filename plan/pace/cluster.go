package pace

import (
	"cmp"
	"fmt"
	"time"
)

// cluster is what was learned of the members, look by look.
type cluster struct {
	all []*member // of the member list, in its order

	leader   uint64 // 0 until one is known
	term     uint64
	electing bool   // more than half of them agree on none
	changed  string // how the leader has changed with the last look; "" if it has not
}

// member is one, and what it was like before the run began.
type member struct {
	seen Member // by the last look

	answered  bool // it ever has
	silent    int  // looks in a row in which the others had to do without it
	lostSince time.Time
	waived    bool // nobody waits for it any more

	before time.Duration // latency of the answer before the last; 0 if there was none

	base      baseline
	metrics   *Metrics // of the last look that has brought any; nil if it is too old
	metricsAt time.Time
	disk      disk
}

// baseline is the worst that a member showed before the run. What it did not show then, because it was down, its metrics were not
// found yet or its disk had too little to do, is what it shows first.
type baseline struct {
	latency                          time.Duration
	lag                              float64
	slowWatchers, pending, proposals worst[float64]
	fsync, commit                    worst[time.Duration]
}

// worst is the highest value that was seen, if any was.
type worst[T cmp.Ordered] struct {
	value T
	known bool
}

// see takes a value: the first one only, unless it is still measured.
func (w *worst[T]) see(value T, measuring bool) {
	if measuring || !w.known {
		w.value, w.known = max(w.value, value), true
	}
}

// missedLooks is how many looks a member has to miss until it counts as lost.
const missedLooks = 2

// lost reports whether the others have to do without a voter that has answered before.
func (m *member) lost() bool {
	return m.answered && !m.seen.Learner && m.silent >= missedLooks
}

// measure takes a look that was taken for the baseline.
func (c *cluster) measure(v *Vitals, at time.Time) {
	c.look(v, at)
	if v == nil {
		return
	}
	for _, m := range c.all {
		if m.seen.Err != nil {
			continue
		}
		b := &m.base
		b.latency, b.lag = max(b.latency, m.seen.Latency), max(b.lag, m.seen.lag())
		m.learn(true)
	}
}

// learn takes for a baseline what is known for the first time.
func (c *cluster) learn() {
	for _, m := range c.all {
		m.learn(false)
	}
}

func (m *member) learn(measuring bool) {
	metrics, b := m.metrics, &m.base
	if metrics == nil || m.seen.Err != nil {
		return
	}
	b.slowWatchers.see(metrics.SlowWatchers, measuring)
	b.pending.see(metrics.PendingEvents, measuring)
	b.proposals.see(metrics.PendingProposals, measuring)
	fsync, commit := m.disk.means()
	if fsync > 0 {
		b.fsync.see(fsync, measuring)
	}
	if commit > 0 {
		b.commit.see(commit, measuring)
	}
}

// down names a voter that has never answered while another has; "" if there is none. If none has answered, statuses are not for
// us to see.
func (c *cluster) down() (name string) {
	answered := false
	for _, m := range c.all {
		switch {
		case m.seen.Learner:
		case m.answered:
			answered = true
		case name == "":
			name = m.seen.String()
		}
	}
	if !answered {
		return ""
	}
	return name
}

// anew forgets what the next looks are not to be compared with: at the beginning, and after a time in which nobody looked.
func (c *cluster) anew() {
	for _, m := range c.all {
		m.disk = disk{}
	}
	c.changed = ""
}

// waitAgain begins the wait for members that are lost once more.
func (c *cluster) waitAgain(at time.Time) {
	for _, m := range c.all {
		m.lostSince = at
	}
}

// waive ends the wait for members that are lost now.
func (c *cluster) waive() {
	for _, m := range c.all {
		m.waived = m.lost()
	}
}

// look takes a look at the members.
func (c *cluster) look(v *Vitals, at time.Time) {
	c.changed = ""
	if v == nil || len(v.Members) == 0 { // nobody gave a list: what was known stays
		return
	}
	before := c.all
	c.all = nil
	for _, seen := range v.Members {
		m := find(before, seen.ID)
		if m == nil {
			m = &member{}
		}
		m.see(seen, at)
		c.all = append(c.all, m)
	}
	c.elect()
	for _, m := range c.all {
		m.miss(c.leader != 0 && !c.electing, at)
	}
}

func find(all []*member, id uint64) *member {
	for _, m := range all {
		if m.seen.ID == id {
			return m
		}
	}
	return nil
}

func (m *member) see(seen Member, at time.Time) {
	if seen.Name == "" {
		seen.Name = m.seen.Name
	}
	m.before, m.seen = m.seen.Latency, seen
	if seen.Err != nil {
		return
	}
	m.answered = true
	switch {
	case seen.Metrics != nil:
		m.metrics, m.metricsAt = seen.Metrics, at
		m.disk.add(seen.Metrics, at)
	case at.Sub(m.metricsAt) > windowLong: // not every look has to bring them
		m.metrics, m.disk = nil, disk{}
	}
}

// miss counts the looks in which a member did not answer, or was cut off: it knew no leader while the others had one.
func (m *member) miss(led bool, at time.Time) {
	if m.seen.Err == nil && (m.seen.Leader != 0 || !led) {
		m.silent, m.waived = 0, false
		return
	}
	if m.silent++; m.silent == 1 {
		m.lostSince = at
	}
}

// absence says in words how a member is lost.
func (m *member) absence() string {
	if m.seen.Err == nil {
		return fmt.Sprintf("member %s cut off from the leader", &m.seen)
	}
	return fmt.Sprintf("member %s unreachable", &m.seen)
}

// elect finds the leader: whom more than half of the voters that answer take for it. One that is cut off from the others may
// name another, or none, for as long as it is; its term may be ahead of theirs, too.
func (c *cluster) elect() {
	votes, terms := map[uint64]int{}, map[uint64]uint64{}
	answering := 0
	for _, m := range c.all {
		if m.seen.Err == nil && !m.seen.Learner {
			answering++
			votes[m.seen.Leader]++
			terms[m.seen.Leader] = max(terms[m.seen.Leader], m.seen.Term)
		}
	}
	if answering == 0 {
		return
	}
	c.electing = true
	for leader, n := range votes {
		if leader == 0 || 2*n <= answering {
			continue
		}
		c.electing = false
		switch {
		case c.leader == 0:
		case leader != c.leader:
			c.changed = fmt.Sprintf("leader changed: %s, was %s", c.name(leader), c.name(c.leader))
		case terms[leader] > c.term:
			c.changed = fmt.Sprintf("leader changed: %s was elected again", c.name(leader))
		}
		c.leader, c.term = leader, terms[leader]
	}
}

func (c *cluster) name(id uint64) string {
	if m := find(c.all, id); m != nil {
		return m.seen.String()
	}
	return (&Member{ID: id}).String()
}

// lag is how many entries a member knows to be committed and has not applied.
func (m *Member) lag() float64 {
	if m.Applied > m.Index {
		return 0 // the two are read one after the other
	}
	return float64(m.Index - m.Applied)
}

// trouble says what of a member that answers has left its baseline; "" if nothing has.
func (m *member) trouble(t *Thresholds) string {
	if limit := m.base.latency + t.MemberOver; min(m.before, m.seen.Latency) > limit {
		return fmt.Sprintf("its answers take %s > %s", Latency(m.seen.Latency), Latency(limit))
	}
	if lag := m.seen.lag(); lag > m.base.lag+t.ApplyLag {
		return fmt.Sprintf("%.0f entries are committed and not applied", lag)
	}
	metrics := m.metrics
	if metrics == nil {
		return ""
	}
	for _, row := range []struct {
		now, limit float64
		what       string
	}{
		{metrics.SlowWatchers, m.base.slowWatchers.value + t.SlowWatchers, "slow watchers"},
		{metrics.PendingEvents, m.base.pending.value + t.PendingEvents, "pending events"},
		{metrics.PendingProposals, m.base.proposals.value + t.PendingProposals, "pending proposals"},
	} {
		if row.now > row.limit {
			return fmt.Sprintf("%.0f %s", row.now, row.what)
		}
	}
	fsync, commit := m.disk.means()
	for _, row := range []struct {
		now, base time.Duration
		what      string
	}{
		{fsync, m.base.fsync.value, "a sync of its log"},
		{commit, m.base.commit.value, "a commit of its database"},
	} {
		if limit := max(scale(row.base, t.HalveRatio), row.base+t.DiskOver); row.now > limit {
			return fmt.Sprintf("%s takes %s > %s", row.what, Latency(row.now), Latency(limit))
		}
	}
	return ""
}

// disk has what the disk histograms said over the last few seconds.
type disk struct {
	at            []time.Time
	fsync, commit []Histogram
}

func (d *disk) add(m *Metrics, at time.Time) {
	if n := len(d.at); n > 0 && (m.Fsync.Count < d.fsync[n-1].Count || m.Commit.Count < d.commit[n-1].Count) {
		*d = disk{} // it was started anew
	}
	d.at, d.fsync, d.commit = append(d.at, at), append(d.fsync, m.Fsync), append(d.commit, m.Commit)
	for len(d.at) > 2 && at.Sub(d.at[1]) >= windowLong {
		d.at, d.fsync, d.commit = d.at[1:], d.fsync[1:], d.commit[1:]
	}
}

func (d *disk) means() (fsync, commit time.Duration) { return mean(d.fsync), mean(d.commit) }

// mean returns how long one takes between the first and the last; 0 if there are too few to tell.
func mean(all []Histogram) time.Duration {
	const few = 5
	if len(all) < 2 {
		return 0
	}
	first, last := all[0], all[len(all)-1]
	if last.Count < first.Count+few {
		return 0
	}
	return time.Duration((last.Seconds - first.Seconds) / float64(last.Count-first.Count) * float64(time.Second))
}
