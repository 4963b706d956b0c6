package sweep_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"etcdsweep/etcdops"
	"etcdsweep/plan/apply"
	"etcdsweep/plan/pace"
	"etcdsweep/plan/run"
	"etcdsweep/test/lab"
	"etcdsweep/test/lab/labtest"
)

// answers is a cluster that is measured by its answers alone.
type answers struct{ client *etcdops.Client }

func (a answers) Read(ctx context.Context) error { return a.client.Ping(ctx) }

func (a answers) Vitals(context.Context) pace.Vitals { return pace.Vitals{} }

// An etcd that is gone when a step begins, and back when the run has stood still for it for longer than any read is tried, ends no
// run: whatever the step reads first waits for it.
func TestOutageInStep(t *testing.T) {
	binary := labtest.Process(t)
	for _, step := range []run.Step{run.StepNewcomers, run.StepVerify} {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			w := start(t, lab.Config{Binary: binary})
			var err error
			w.client, _, err = etcdops.Connect(t.Context(), etcdops.Config{
				Endpoints: w.lab.Endpoints(), CACert: w.lab.CA.Path(), Cert: w.lab.Cert, Key: w.lab.Key, CommandTimeout: 500 * time.Millisecond,
			})
			must(t, err)
			defer w.client.Close()
			job := w.fill(20, 1)[0]
			p := w.plan(jobs(job.Namespace, job.Name))
			before := w.state()
			cfg := w.config(p)
			pacing := pace.Defaults()
			pacing.Baseline, pacing.Calm = 500*time.Millisecond, 500*time.Millisecond
			cfg.Pace = pace.New(pacing, answers{w.client})
			w.client.HoldReads(cfg.Pace.Reads)
			var back sync.WaitGroup
			defer back.Wait()
			var struck, mended bool
			cfg.Observe = func(event run.Event) {
				switch e := event.(type) {
				case run.StepBegan:
					if e.Step == step && !struck {
						struck = true
						must(t, w.lab.KillMember(0))
					}
				case run.Paced:
					if struck && !mended && e.State == pace.Paused && e.PausedSeconds > 4 {
						mended = true
						back.Go(func() {
							if err := w.lab.StartMember(t.Context(), 0); err != nil {
								t.Error(err)
							}
						})
					}
				}
			}
			report, err := apply.Run(t.Context(), cfg)
			must(t, err)
			if len(report.Pauses) == 0 || !strings.Contains(report.Pauses[0].Reason, "no quorum") {
				t.Errorf("stood still for %+v", report.Pauses)
			}
			onlyGone(t, before, w.state(), keys(t, p))
		})
	}
}
