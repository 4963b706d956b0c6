package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"etcdsweep/plan/census"
)

// A command is given for what a plan takes as it stands. What it would refuse is said in words.
func TestPlanCommand(t *testing.T) {
	for name, c := range map[string]struct {
		owner census.Owner
		want  string
	}{
		"a Job":                      {census.Owner{Kind: "Job", Group: "batch", Namespace: "a", State: census.Standing}, "etcdsweep plan -n a --job x -o a-x.plan"},
		"a CronJob":                  {census.Owner{Kind: "CronJob", Group: "batch", Namespace: "a", State: census.Gone}, "etcdsweep plan -n a --cronjob x -o a-x.plan"},
		"a custom one":               {census.Owner{Kind: "Flow", Group: "example.com", Namespace: "a", State: census.Standing}, "etcdsweep plan -n a --owner Flow.example.com/x -o a-x.plan"},
		"below what nobody knows":    {census.Owner{Kind: "Job", Group: "batch", Namespace: "a", State: census.Standing, Above: &census.Owner{}}, "etcdsweep plan -n a --job x --keep-roots -o a-x.plan"},
		"one that cannot be read":    {census.Owner{Kind: "Job", Group: "batch", Namespace: "a", State: census.Sealed}, ""},
		"one that is stored nowhere": {census.Owner{Kind: "Flow", Group: "example.com", Namespace: "a", State: census.Unknown}, ""},
		"one in no namespace":        {census.Owner{Kind: "Scan", Group: "example.com", State: census.Standing}, ""},
	} {
		c.owner.Name = "x"
		var o topOptions
		cmd := &cobra.Command{}
		o.addFlags(cmd)
		o.addPrefixFlag(cmd)
		if got := o.planCommand(&census.Group{Owner: &c.owner}); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if says := strings.Contains(ownerWords(&c.owner), "--owner with --keep-roots"); says != (c.owner.Namespace == "") {
			t.Errorf("%s: %q", name, ownerWords(&c.owner))
		}
	}
}
