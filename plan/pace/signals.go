package pace

import (
	"fmt"
	"time"
)

// level is how much a signal asks for.
type level int

const (
	fine   level = iota
	unsure       // there is not enough to judge by yet: what was decided stays
	hold         // the rate rises no more
	halve        // it is halved
	slow         // it is the lowest
	pause        // nothing is begun
	end          // nothing will be begun any more
)

// verdict is what a signal asks for, and why in words.
type verdict struct {
	level  level
	reason string
	rebase bool // of a pause: what is seen afterwards is not to be compared with what was before
}

// noQuorumAfter is how long a read may be silent until it counts as unanswerable.
const noQuorumAfter = 2 * time.Second

// judge asks every signal, and takes the gravest; of equals the first.
func (c *Controller) judge(at time.Time) verdict {
	worst := verdict{}
	for _, signal := range []func(time.Time) verdict{
		c.corrupt,
		c.quorum,
		c.leader,
		c.lost,
		c.silence,
		c.readLatency,
		c.writeLatency,
		c.members,
	} {
		if v := signal(at); v.level > worst.level {
			worst = v
		}
	}
	return worst
}

func (c *Controller) corrupt(time.Time) verdict {
	for _, m := range c.cluster.all {
		if m.seen.Corrupt {
			return verdict{level: end, reason: fmt.Sprintf("member %s has the alarm CORRUPT", &m.seen)}
		}
	}
	return verdict{}
}

// quorum is lost when no read is answered. Members that answer for themselves prove nothing.
func (c *Controller) quorum(time.Time) verdict {
	switch {
	case c.silent >= max(c.cfg.CriticalAfter, noQuorumAfter):
		return verdict{level: end, reason: fmt.Sprintf("no quorum: no read was answered for %s", c.silent.Round(time.Second))}
	case c.silent >= noQuorumAfter:
		return verdict{level: pause, reason: "no quorum: reads are not answered"}
	}
	return verdict{}
}

func (c *Controller) leader(time.Time) verdict {
	switch v := &c.cluster; {
	case v.electing:
		return verdict{level: pause, reason: "no leader: an election is under way", rebase: true}
	case v.changed != "":
		return verdict{level: pause, reason: v.changed, rebase: true}
	}
	return verdict{}
}

// lost looks for voters that have answered before.
func (c *Controller) lost(at time.Time) verdict {
	worst := verdict{}
	for _, m := range c.cluster.all {
		if !m.lost() {
			continue
		}
		v := verdict{level: pause, reason: m.absence()}
		if gone := at.Sub(m.lostSince); m.waived || gone >= c.cfg.MemberWait {
			v = verdict{level: slow, reason: fmt.Sprintf("%s for %s", m.absence(), gone.Round(time.Second))}
		}
		if v.level > worst.level {
			worst = v
		}
	}
	return worst
}

// silence tells of a read that is slow before it has ended.
func (c *Controller) silence(time.Time) verdict {
	if c.silent > c.cfg.HalveAbove {
		return verdict{level: halve, reason: fmt.Sprintf("a read waits for %s", Latency(c.silent))}
	}
	return verdict{}
}

func (c *Controller) readLatency(at time.Time) verdict {
	switch p95, known := c.reads.window.p95(); {
	case !known:
		return verdict{level: unsure}
	case c.reads.first == 0:
		return verdict{level: hold, reason: slowBefore(p95)}
	}
	return c.latency("p95", &c.reads, at)
}

func slowBefore(p95 time.Duration) string {
	return fmt.Sprintf("etcd was slow before: p95 %s > %s", Latency(p95), Latency(SickAbove))
}

func (c *Controller) writeLatency(at time.Time) verdict {
	return c.latency("p95 of writes", &c.writes, at)
}

// latency compares a gauge with its baseline. It is the only signal that what is not the run's doing can quiet: whoever is
// next to nothing is not the cause.
func (c *Controller) latency(what string, g *gauge, at time.Time) verdict {
	p95, known := g.window.p95()
	v := verdict{}
	if !known {
		return v
	}
	for range 2 {
		if v = c.compare(what, p95, g); v.level == fine || !c.low(at) || p95 > c.cfg.HalveAbove {
			break
		}
		g.settle()
	}
	return v
}

func (c *Controller) compare(what string, p95 time.Duration, g *gauge) verdict {
	holds := max(scale(g.now, c.cfg.HoldRatio), g.now+c.cfg.HoldOver)
	halves := max(scale(g.now, c.cfg.HalveRatio), g.now+c.cfg.HalveOver)
	above := func(level level, limit time.Duration) verdict {
		return verdict{level: level, reason: fmt.Sprintf("%s %s > %s", what, Latency(p95), Latency(limit))}
	}
	switch {
	case p95 > c.cfg.HalveAbove:
		return above(halve, c.cfg.HalveAbove)
	case g.now == 0: // there is nothing to compare with
		return verdict{}
	case p95 > halves:
		return above(halve, halves)
	case p95 > holds:
		return above(hold, holds)
	}
	return verdict{}
}

func scale(d time.Duration, by float64) time.Duration { return time.Duration(float64(d) * by) }

// members looks at what the members tell of themselves.
func (c *Controller) members(time.Time) verdict {
	for _, m := range c.cluster.all {
		if m.seen.Learner || m.seen.Err != nil {
			continue
		}
		if reason := m.trouble(&c.cfg.Thresholds); reason != "" {
			return verdict{level: halve, reason: fmt.Sprintf("member %s: %s", &m.seen, reason)}
		}
	}
	return verdict{}
}
