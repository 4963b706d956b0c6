package pace

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"time"
)

const (
	steps     = 20               // from nothing to the full rate, a step a sample
	leastPart = 1.0 / 8          // of the full rates of reads that is always left
	cutEvery  = time.Second      // so that a cut shows before the next
	lowAfter  = 4 * time.Second  // next to nothing, what is slow is not the run's doing
	lowPart   = 1.0 / 10         // of the ceiling at most is next to nothing
	jumpAbove = 10 * time.Second // between two samples the process, or the machine, stood still
)

// Sample is what was measured since the sample before.
type Sample struct {
	At     time.Time
	Reads  []time.Duration // linearizable reads, answered or given up
	Writes []time.Duration // the run's own writes
	Silent time.Duration   // for how long now no read was answered; 0 if none is overdue
	Busy   bool            // the pace held writes up
	Bulk   bool            // it held up scans, or a snapshot
	Vitals *Vitals         // nil if there was no look
}

// Decision is what the pace is from now on.
type Decision struct {
	State  State
	Reason string
	By     string
	Rate   float64 // writes a second; 0 if none may be begun, +Inf if nothing is held up
	Part   float64 // of the full rates of scans and snapshots
}

// Controller decides how fast a run may go. It is for one goroutine.
//
// It measures until [Controller.Begin], and decides with each sample after that. What an operator says counts at once, and
// raises nothing by itself: only samples do.
type Controller struct {
	cfg     Config
	ceiling float64 // 0 for unpaced
	floor   float64

	rate    float64 // that is allowed when nothing stands still
	part    float64 // likewise, of reads. What reads have proved to be harmless says nothing of writes, so each rises by itself
	cause   string  // why it was cut, or held, last; "" at the ceiling
	holding bool    // the last sample had such a cause
	by      string  // who limited it

	began    bool
	degraded string // which voter was down from the start; "" if none was
	last     time.Time
	cut      time.Time // when the rate was cut last
	knee     float64   // the rate that was too much then; 0 if none was
	lowSince time.Time // since when the run is next to nothing

	paused    string    // why the run stands still; "" if it does not
	calmSince time.Time // since when the cause of the pause is gone; zero if it is not
	rebase    bool      // the pause ends with another baseline
	hand      string    // who paused it by hand; "" if nobody did
	ended     *Decision

	reads, writes gauge
	shown         time.Duration // the p95 that was told last
	silent        time.Duration
	cluster       cluster
}

// NewController returns a controller that measures.
func NewController(cfg Config) *Controller {
	c := &Controller{cfg: cfg, part: leastPart}
	c.limit(cfg.Rate, "")
	return c
}

// limit sets the ceiling.
func (c *Controller) limit(ceiling float64, by string) {
	c.ceiling, c.by = ceiling, by
	c.floor = min(c.cfg.MinRate, ceiling)
}

// Begin ends the measuring of the baseline.
func (c *Controller) Begin(at time.Time) Decision {
	c.began, c.last = true, at
	if c.degraded = c.cluster.down(); c.degraded != "" && (c.unpaced() || c.ceiling > DegradedRate) {
		c.limit(DegradedRate, c.by)
	}
	c.rate = min(c.cfg.StartRate, c.ceiling)
	first, known := c.reads.window.p95()
	switch {
	case !known: // the first that is known later is taken for it
	case first > SickAbove:
		c.lower(c.floor, 0, slowBefore(first))
		c.holding = true
	default:
		c.reads.base(first)
	}
	c.cluster.anew()
	c.shown = first
	c.noteLow(at)
	c.reads.window.clear()
	return c.Decision()
}

// Decide takes a sample.
func (c *Controller) Decide(s Sample) Decision {
	if !c.began {
		c.reads.window.add(s.At, s.Reads)
		c.cluster.measure(s.Vitals, s.At)
		return c.Decision()
	}
	if c.ended != nil {
		return *c.ended
	}
	jumped := s.At.Before(c.last) || s.At.Sub(c.last) > jumpAbove
	since := s.At.Sub(c.last)
	c.last = s.At
	c.silent = s.Silent
	if jumped {
		c.reads.window.clear()
		c.writes.window.clear()
		reason := fmt.Sprintf("nothing was measured for %s", since.Round(time.Second))
		if since < 0 {
			reason = fmt.Sprintf("the clock went back by %s", -since.Round(time.Second))
		}
		c.start(reason, s.At)
		c.calmSince = time.Time{}
		c.cluster.look(s.Vitals, s.At)
		c.cluster.anew()
		c.cluster.waitAgain(s.At)
		return c.Decision()
	}
	c.reads.window.add(s.At, s.Reads)
	c.addWrites(s)
	c.cluster.look(s.Vitals, s.At)
	c.cluster.learn()
	c.recover()
	c.react(c.judge(s.At), s)
	return c.Decision()
}

// addWrites compares the run's own writes with the first of them: there are none to measure beforehand.
func (c *Controller) addWrites(s Sample) {
	const first = 50
	c.writes.window.add(s.At, s.Writes)
	if c.writes.first == 0 && len(c.writes.window.latencies) >= first {
		c.writes.base(p95(c.writes.window.latencies))
	}
}

// recover takes the first bearable latency for the baseline of a cluster that was sick, and lets a baseline that was raised
// fall again.
func (c *Controller) recover() {
	if p95, known := c.reads.window.p95(); c.reads.first == 0 && known && p95 <= SickAbove {
		c.reads.base(p95)
	}
	c.reads.relax()
	c.writes.relax()
}

// react moves the rate, or lets the run stand still.
func (c *Controller) react(v verdict, s Sample) {
	if c.cfg.ReadsOnly && v.level > slow {
		v.level = slow
	}
	switch {
	case v.level == end:
		c.ended = &Decision{State: Ended, Reason: v.reason}
		return
	case v.level == pause:
		c.paused, c.calmSince = v.reason, time.Time{}
		c.rebase = c.rebase || v.rebase
		return
	case c.paused != "":
		if c.calmSince.IsZero() {
			c.calmSince = s.At
			c.reads.window.clear()
		}
		if s.At.Sub(c.calmSince) < c.cfg.Calm {
			return
		}
		c.resume(s.At)
		if v.level < slow {
			return // what it says was compared with the baseline of before
		}
	}
	if c.hand != "" || c.unpaced() {
		return
	}
	c.move(v, s)
	c.noteLow(s.At)
}

// move moves the rate.
func (c *Controller) move(v verdict, s Sample) {
	if v.level == unsure {
		return
	}
	c.holding = v.level != fine
	switch v.level {
	case slow:
		c.lower(c.floor, 0, v.reason)
	case halve:
		if s.At.Sub(c.cut) >= cutEvery {
			c.cut, c.knee = s.At, c.rate
			c.lower(max(c.floor, c.rate/2), c.part/2, v.reason)
			c.reads.window.clear() // what it shows from now on is of the lower rate
			c.writes.window.clear()
		}
	case hold:
		c.lower(c.rate, c.part, v.reason)
	case fine:
		c.raise(s)
	}
}

// noteLow notes since when the run is next to nothing: reads as slow as they ever are, and a rate of writes that a sound cluster
// does not feel, be it the one that the run begins with.
func (c *Controller) noteLow(at time.Time) {
	switch {
	case c.part > leastPart || c.rate > max(c.floor, min(c.cfg.StartRate, c.ceiling*lowPart)):
		c.lowSince = time.Time{}
	case c.lowSince.IsZero():
		c.lowSince = at
	}
}

// low reports whether the run is next to nothing, and has been for long enough that what is slow is not its doing.
func (c *Controller) low(at time.Time) bool {
	return !c.lowSince.IsZero() && at.Sub(c.lowSince) >= lowAfter
}

// raise raises what was used: a rate that nobody has used, or nobody has measured, is not known to do no harm.
func (c *Controller) raise(s Sample) {
	if s.Busy && len(s.Reads) > 0 {
		c.rate = min(c.ceiling, c.rate+c.step())
	}
	if s.Bulk && len(s.Reads) > 0 {
		c.part = min(1, c.part+1.0/steps)
	}
	if c.rate >= c.ceiling {
		c.cause = ""
	}
}

// step is by how much the rate of writes rises with a sample. About the rate that was too much last it is a fifth: there a run
// spends most of its time then, and goes beyond it seldom, as TCP does (CUBIC, RFC 9438).
func (c *Controller) step() float64 {
	step := min(c.ceiling, c.full()) / steps
	if c.rate > c.knee*7/8 && c.rate < c.knee*9/8 {
		step /= 5
	}
	return max(step, 1)
}

// full returns the rate that the run was given, which is all that it is made for.
func (c *Controller) full() float64 { return cmp.Or(c.cfg.Rate, defaultRate) }

func (c *Controller) lower(rate, part float64, reason string) {
	c.rate, c.part, c.cause = min(c.rate, rate), min(c.part, max(part, leastPart)), reason
}

// start goes back to the rate of a beginning.
func (c *Controller) start(reason string, at time.Time) {
	c.lower(max(c.floor, min(c.cfg.StartRate, c.ceiling)), 0, reason)
	c.holding, c.lowSince, c.knee = false, time.Time{}, 0
	c.noteLow(at)
}

// resume ends a pause that measurements have made. What was seen since it grew calm is the baseline after a change of the
// leader: another member answers now.
func (c *Controller) resume(at time.Time) {
	if p95, known := c.reads.window.p95(); known && c.rebase && p95 <= SickAbove {
		c.reads.base(p95)
	}
	if c.rebase {
		c.writes = gauge{}
	}
	c.start(c.paused, at)
	c.paused, c.rebase = "", false
}

func (c *Controller) unpaced() bool { return c.ceiling == 0 }

// Decision returns what was decided last.
func (c *Controller) Decision() Decision {
	switch {
	case c.ended != nil:
		return *c.ended
	case !c.began:
		return Decision{State: Measuring}
	case c.hand != "":
		return Decision{State: Paused, Reason: "paused by " + c.hand, By: c.hand}
	case c.paused != "":
		return Decision{State: Paused, Reason: c.paused}
	case c.unpaced():
		return Decision{State: Running, Rate: math.Inf(1), Part: 1}
	}
	d := Decision{State: Running, Rate: c.rate, Reason: c.cause, By: c.by}
	d.Part = max(min(c.part, c.ceiling/c.full()), leastPart) // who lowers the ceiling means all that the run does
	switch {
	case c.holding:
		d.State = Holding
	case c.rate < c.ceiling && c.cause == "":
		d.Reason = "rising"
	case c.rate < c.ceiling:
		d.Reason = "rising again after: " + c.cause
	case c.degraded != "" && c.ceiling == DegradedRate:
		d.Reason = fmt.Sprintf("limited to %g/s: member %s was down from the start", c.ceiling, c.degraded)
	case c.by != "":
		d.Reason = fmt.Sprintf("limited to %g/s by %s", c.ceiling, c.by)
	}
	return d
}

// Pause lets the run stand still until Resume.
func (c *Controller) Pause(by string) Decision {
	c.hand = by
	return c.Decision()
}

// Resume ends a pause by hand, and the wait for a member that was lost. The run begins as it began at first.
func (c *Controller) Resume() Decision {
	c.cluster.waive()
	if c.hand != "" && c.began {
		c.start("paused by "+c.hand, c.last)
		c.reads.window.clear()
		c.writes.window.clear()
	}
	c.hand = ""
	return c.Decision()
}

// SetRate changes the most writes a second. While a member was down when the run began it stays DegradedRate at most.
func (c *Controller) SetRate(by string, perSecond float64) (Decision, error) {
	if !(perSecond > 0) || math.IsInf(perSecond, 0) {
		return c.Decision(), errors.New("a rate is more than 0; pause lets nothing go")
	}
	if c.degraded != "" {
		perSecond = min(perSecond, DegradedRate)
	}
	if c.unpaced() {
		c.rate = c.cfg.StartRate
	}
	c.limit(perSecond, by)
	c.rate = min(c.rate, perSecond)
	return c.Decision(), nil
}

// End ends the run.
func (c *Controller) End(by, reason string) Decision {
	if c.ended == nil {
		c.ended = &Decision{State: Ended, Reason: reason, By: by}
	}
	return *c.ended
}

// Latency returns the p95 of the last seconds, and what it is compared with. Each is 0 while it is not known.
func (c *Controller) Latency() (now, baseline time.Duration) {
	if len(c.reads.window.latencies) > 0 {
		c.shown = p95(c.reads.window.latencies)
	}
	return c.shown, c.reads.now
}

// Ceiling returns the most that is ever allowed now; 0 for unpaced.
func (c *Controller) Ceiling() float64 { return c.ceiling }

// blind lets the rate be the highest: nobody measures anything.
func (c *Controller) blind() Decision {
	if c.began {
		c.rate, c.part = c.ceiling, 1
	}
	return c.Decision()
}
