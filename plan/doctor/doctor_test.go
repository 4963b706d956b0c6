package doctor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func now() time.Time { return time.Date(2026, 11, 28, 3, 0, 0, 0, time.UTC) }

// healthy is a cluster about which there is nothing to say.
func healthy() *Facts {
	member := func(name string, leader bool) Member {
		return Member{
			Name: name, Version: "3.6.9", Leader: leader, DBSize: 400 << 20, InUse: 300 << 20, Quota: 8 << 30,
			Revision: 1000, Applied: 5000, Latency: 2 * time.Millisecond,
		}
	}
	year := now().AddDate(1, 0, 0)
	return &Facts{
		Now:       now(),
		Endpoints: []Endpoint{{Address: "https://10.0.0.1:2379"}, {Address: "https://10.0.0.2:2379"}},
		Certificates: []Certificate{
			{Of: "https://10.0.0.1:2379", Names: []string{"m1"}, NotAfter: year.AddDate(0, 0, 1)},
			{Of: clientCertificate, Names: []string{"root"}, NotAfter: year},
			{Of: caCertificate, NotAfter: year.AddDate(9, 0, 0)},
		},
		Members:     []Member{member("m1", true), member("m2", false), member("m3", false)},
		Latency:     []float64{2, 1, 3},
		Prefix:      "/registry",
		Keys:        12345,
		System:      true,
		Controllers: Writer{Name: "kube-controller-manager", Found: true, Words: "its lease has stood still for 15s"},
		APIServers:  []Writer{{Name: "10.0.0.1", Found: true, Alive: true}},
		Encodings:   []Encoding{{Name: "protobuf", Count: 20, Readable: true}},
		Room:        Room{Dir: "/var/lib/etcdsweep", Free: 10 << 30, Need: 1 << 30},
	}
}

func TestHealthy(t *testing.T) {
	r := Examine(healthy())
	var subjects []string
	for _, f := range r.Findings {
		if f.Level != OK || f.Hint != "" || f.Text == "" {
			t.Errorf("%+v", f)
		}
		subjects = append(subjects, f.Subject)
	}
	want := []string{"endpoints", "TLS", "members", "space", "latency", "access", "registry", "controllers", "apiservers", "values", "room"}
	want = slices.Insert(want, 3, "version")
	if r.Level != OK || !slices.Equal(subjects, want) {
		t.Errorf("%s: %q, want %q", r.Level, subjects, want)
	}
}

// hinted is an error that says itself what to do.
type hinted struct{ error }

func (hinted) Hint() string { return "do as the error says" }

// Each fault alone, in a cluster that is healthy otherwise: it is said, at its level, with a hint, and nothing else is.
func TestFaults(t *testing.T) {
	down := errors.New("no answer in time")
	for name, test := range map[string]struct {
		fault   func(*Facts)
		level   Level
		subject string
		says    string
		hint    string
	}{
		"one endpoint is dead": {
			func(f *Facts) { f.Endpoints[1].Err, f.Endpoints[1].Hint = down, "leave it out" },
			Warn, "endpoints", "no answer in time", "leave it out",
		},
		"all endpoints are dead": {
			func(f *Facts) {
				f.Endpoints = []Endpoint{{Address: "https://a:1", Err: down, Hint: "is it running?"}}
			},
			Fail, "endpoints", "no answer", "is it running?",
		},
		"a configuration that makes no sense": {
			func(f *Facts) { f.Connection, f.Endpoints = hinted{errors.New("no such file")}, nil },
			Fail, "endpoints", "no such file", "do as the error says",
		},
		"plain text":             {func(f *Facts) { f.PlainText = true }, Warn, "TLS", "plain text", "listen with TLS"},
		"believed":               {func(f *Facts) { f.Unverified = true }, Warn, "TLS", "whoever answers", "--insecure-skip-tls-verify"},
		"a server's has expired": {func(f *Facts) { f.Certificates[0].NotAfter = now() }, Fail, "TLS", "https://10.0.0.1:2379, for m1: expired on 2026-11-28 03:00 UTC", "restart that member"},
		"a client's expires":     {func(f *Facts) { f.Certificates[1].NotAfter = now().Add(50 * time.Hour) }, Warn, "TLS", "client, for root: expires on 2026-11-30 05:00 UTC, in 2 days", "--cert and --key"},
		"the CA's expires":       {func(f *Facts) { f.Certificates[2].NotAfter = now().Add(time.Hour) }, Warn, "TLS", "CA: expires on 2026-11-28 04:00 UTC, in 1h0m0s", "renew"},
		"an old CA beside a good one": {
			func(f *Facts) { f.Certificates[2].NotAfter = now() },
			Warn, "TLS", "CA: expired on 2026-11-28 03:00 UTC; another one in the file is good", "take it out",
		},
		"an old CA, and nobody was verified": {
			func(f *Facts) { f.Certificates[2].NotAfter, f.Unverified = now(), true },
			Fail, "TLS", "CA: expired on", "renew",
		},
		"a server's is new": {func(f *Facts) { f.Certificates[0].NotBefore = now().Add(time.Hour) }, Fail, "TLS", "not valid before", "clocks of this machine and of https://10.0.0.1:2379"},
		"a client's is new": {func(f *Facts) { f.Certificates[1].NotBefore = now().Add(time.Hour) }, Fail, "TLS", "not valid before", "who made the certificate"},

		"kine":                 {func(f *Facts) { f.NotEtcd = "what answers is not etcd: it has no raft" }, Fail, "etcd", "no raft", "kubectl"},
		"nobody knows who":     {func(f *Facts) { f.MembersErr = hinted{down} }, Fail, "members", "no answer in time", "do as the error says"},
		"no quorum":            {func(f *Facts) { f.Members[0].Err, f.Members[1].Err = down, down; f.Members[0].Leader = false }, Fail, "members", "1 of 3 that vote answer: no quorum", "majority"},
		"a member is down":     {func(f *Facts) { f.Members[2].Err = down }, Fail, "members", "2 of 3 that vote answer", "--allow degraded"},
		"no leader":            {func(f *Facts) { f.Members[0].Leader = false }, Fail, "members", "0 of them lead", "look again"},
		"two leaders":          {func(f *Facts) { f.Members[1].Leader = true }, Fail, "members", "2 of them lead", "look again"},
		"an even number":       {func(f *Facts) { f.Members = f.Members[:2] }, Warn, "members", "2 vote", "even number"},
		"a learner":            {func(f *Facts) { l := f.Members[1]; l.Name, l.Learner = "m4", true; f.Members = append(f.Members, l) }, Warn, "member m4", "a learner", "promote"},
		"a member lags":        {func(f *Facts) { f.Members[1].Applied = 3999 }, Warn, "member m2", "1,001 raft entries behind", "caught up"},
		"a member is slow":     {func(f *Facts) { f.Members[1].Latency = 251 * time.Millisecond }, Warn, "member m2", "251ms", "machine"},
		"no linearizable read": {func(f *Facts) { f.Quorum = down }, Fail, "latency", "no quorum answers: no answer in time", "majority"},
		"slow reads":           {func(f *Facts) { f.Latency = []float64{1, 100, 100} }, Warn, "latency", "p50 100.0 ms", "lowest rate"},
		"hopeless reads":       {func(f *Facts) { f.Latency = []float64{1000} }, Fail, "latency", "p95 1000.0 ms", "stop that first"},
		"corrupt":              {func(f *Facts) { f.Alarms = []Alarm{{"m2", "CORRUPT"}} }, Fail, "alarms", "m2: CORRUPT", "mend the cluster"},
		"no space":             {func(f *Facts) { f.Alarms = []Alarm{{"m2", "NOSPACE"}} }, Warn, "alarms", "m2: NOSPACE", "deletes pass"},
		"no space where deletes are refused": {func(f *Facts) {
			f.Alarms, f.Members[1].Version = []Alarm{{"m1", "NOSPACE"}}, "3.5.4"
		}, Fail, "alarms", "m1 has the alarm NOSPACE, and etcd 3.5.4 of member m2 then refuses every transaction", "etcdctl del KEY"},
		"an alarm of the future": {func(f *Facts) { f.Alarms = []Alarm{{"m2", "BOREDOM"}} }, Fail, "alarms", "BOREDOM", "alarm list"},
		"nearly full":            {func(f *Facts) { f.Members[1].Quota = 500 << 20 }, Warn, "space", "m2: the file is 400 MiB, 80% of its quota of 500 MiB", "defragment"},
		"nearly full of what is not told": {
			func(f *Facts) {
				f.Members[1].Quota, f.Members[1].DBSize, f.Members[1].InUse = 0, 2<<30, 2<<30
			},
			Warn, "space", "standard quota, which this version does not tell", "--quota-backend-bytes",
		},
		"fragmented": {func(f *Facts) { f.Members[0].InUse = 199 << 20 }, Warn, "space", "m1: 201 MiB of its file of 400 MiB", "defragment one member at a time"},
		"an old version": {func(f *Facts) {
			f.Members[0].Version, f.Members[1].Version, f.Members[2].Version = "3.3.27", "3.3.27", "3.3.27"
		}, Warn, "version", "etcd 3.3.27 on m1, m2, m3", ""},
		"a new version": {func(f *Facts) {
			f.Members[0].Version, f.Members[1].Version, f.Members[2].Version = "3.8.0", "3.8.0", "3.8.0"
		}, Warn, "version", "etcd 3.8.0", "3.4 to 3.7"},
		"a flawed version": {func(f *Facts) {
			f.Members[0].Version, f.Members[1].Version, f.Members[2].Version = "3.5.15", "3.5.15", "3.5.15"
		}, Warn, "version", "misses a delete there (mended in 3.5.18)", "do not compact"},
		"two versions": {func(f *Facts) { f.Members[0].Version = "3.6.10" }, Warn, "version", "members differ: 3.6.10, 3.6.9", "upgrade"},
		"no role":      {func(f *Facts) { f.Access = Access{Enabled: true, User: "eve"} }, Fail, "access", "user eve, without a role: may not read /registry/, nor write /registry/ (apply, undo), nor snapshots", "grant-role"},
		"reads only":   {func(f *Facts) { f.Access = Access{Enabled: true, User: "ro", Roles: []string{"r"}, Read: true} }, Fail, "access", "roles r: may not write", "root"},
		"all but snapshots": {func(f *Facts) {
			f.Access = Access{Enabled: true, User: "rw", Roles: []string{"r"}, Read: true, Write: true}
		}, Fail, "access", "may not snapshots (the role root)", "root"},
		"who am I":           {func(f *Facts) { f.Access.Err = hinted{down} }, Warn, "access", "not known: no answer", "do as the error says"},
		"no keys":            {func(f *Facts) { f.Keys = 0 }, Fail, "registry", "no keys under /registry/", "--etcd-prefix"},
		"no kube-system":     {func(f *Facts) { f.System = false }, Fail, "registry", "kube-system", "--etcd-prefix"},
		"sealed kube-system": {func(f *Facts) { f.SystemErr = hinted{errors.New("encrypted")} }, Fail, "registry", "encrypted", "do as the error says"},
		"keys not counted":   {func(f *Facts) { f.KeysErr = down }, Warn, "registry", "not known", "members"},
		"controllers write":  {func(f *Facts) { f.Controllers.Alive, f.Controllers.Words = true, "alive, led by m1_a" }, Warn, "controllers", "led by m1_a", "apply asks for it"},
		"no controllers":     {func(f *Facts) { f.Controllers = Writer{Name: "kcm", Words: "no lease seen"} }, Warn, "controllers", "no lease seen", "make sure"},
		"controllers hidden": {func(f *Facts) { f.Controllers.Err = down }, Warn, "controllers", "not known", "members"},
		"no apiserver":       {func(f *Facts) { f.APIServers = nil }, Warn, "apiservers", "none is seen to write", "running pods stay guarded"},
		"a dead apiserver":   {func(f *Facts) { f.APIServers = append(f.APIServers, Writer{Name: "10.0.0.2", Found: true}) }, Warn, "apiservers", "10.0.0.1 writes, 10.0.0.2 does not", "stand still"},
		"apiservers hidden":  {func(f *Facts) { f.ServersErr = down }, Warn, "apiservers", "not known", "members"},
		"encrypted values": {
			func(f *Facts) {
				f.Encodings = append(f.Encodings, Encoding{Name: "encrypted (aescbc, key k)", Count: 3, Hint: "give --encryption-config", Example: "/registry/secrets/a/b"})
			},
			Warn, "values", "3 encrypted (aescbc, key k) cannot be read, such as /registry/secrets/a/b", "give --encryption-config; until then it is counted, and never selected",
		},
		"malformed values": {
			func(f *Facts) {
				f.Encodings = append(f.Encodings, Encoding{Name: "malformed json", Count: 1, Example: "/registry/x"})
			},
			Warn, "values", "1 malformed json", "never selected",
		},
		"no sample":   {func(f *Facts) { f.EncodingsErr = down }, Warn, "values", "not known", "members"},
		"no room":     {func(f *Facts) { f.Room.Free = 100 << 20 }, Fail, "room", "has 100 MiB free, and a run needs 1.0 GiB", "--state-dir"},
		"room unseen": {func(f *Facts) { f.Room.Err = down }, Warn, "room", "not known", "members"},
	} {
		t.Run(name, func(t *testing.T) {
			facts := healthy()
			test.fault(facts)
			r := Examine(facts)
			if r.Level != test.level {
				t.Errorf("the report is %s, want %s", r.Level, test.level)
			}
			found := false
			for _, f := range r.Findings {
				if f.Level != OK && f.Hint == "" {
					t.Errorf("no hint: %+v", f)
				}
				if f.Level != OK && f.Subject != test.subject && test.subject != "members" && !(f.Subject == "version" && test.subject == "alarms") {
					t.Errorf("said as well: %+v", f)
				}
				if f.Subject == test.subject && f.Level == test.level && strings.Contains(f.Text, test.says) && strings.Contains(f.Hint, test.hint) {
					found = true
				}
			}
			if !found {
				t.Errorf("not said: %+v", r.Findings)
			}
		})
	}
}

// Behind an endpoint that does not answer, or something that is no etcd, nothing is said to be well.
func TestNothingIsWellUnseen(t *testing.T) {
	for name, fault := range map[string]func(*Facts){
		"no connection": func(f *Facts) { f.Connection = errors.New("bad flags") },
		"no endpoint":   func(f *Facts) { f.Endpoints = []Endpoint{{Err: errors.New("refused"), Hint: "h"}} },
		"kine":          func(f *Facts) { f.NotEtcd = "no etcd" },
		"no members":    func(f *Facts) { f.MembersErr = errors.New("unknown") },
	} {
		facts := &Facts{Now: now(), Endpoints: []Endpoint{{}}}
		fault(facts)
		for _, f := range Examine(facts).Findings {
			if f.Level == OK && f.Subject != "endpoints" {
				t.Errorf("%s: %+v", name, f)
			}
		}
	}
}

// Without a quorum nothing is said of what only a quorum can tell.
func TestNoQuorumNoWords(t *testing.T) {
	facts := healthy()
	facts.Quorum = errors.New("no answer")
	for _, f := range Examine(facts).Findings {
		if slices.Contains([]string{"access", "registry", "controllers", "apiservers", "values"}, f.Subject) || strings.Contains(f.Text, "no alarms") {
			t.Errorf("%+v", f)
		}
	}
}

func TestVersions(t *testing.T) {
	const (
		apart, single, snapshot, nospace, part    = "come apart", "single member", "applies a snapshot", "NOSPACE", "in part"
		slow, compact, stale, back, defrag, start = "slow watcher", "of a compaction", "stale", "after a panic", "different revisions", "not start again"
		past, deleted, ends, leases, future       = "back in time", "has deleted", "ends the member", "old leader", "future revision"
		twice, minus                              = "twice", "revision -1"
	)
	for version, want := range map[string][]string{
		"3.3.27":       {single, snapshot, nospace, slow, compact, stale, back, past, ends, future, twice, minus},
		"3.4.0":        {single, snapshot, nospace, slow, compact, stale, back, past, ends, future, twice, minus},
		"3.4.20":       {single, snapshot, slow, compact, stale, back, past, ends, future, twice, minus},
		"3.4.21":       {snapshot, slow, compact, stale, back, past, ends, future, twice, minus},
		"3.4.23":       {snapshot, slow, compact, stale, back, past, ends, future, twice, minus},
		"3.4.24":       {snapshot, slow, compact, stale, back, past, ends, future, minus},
		"3.4.25":       {snapshot, slow, compact, stale, back, ends, future, minus},
		"3.4.31":       {snapshot, compact, stale, back, ends, future, minus},
		"3.4.32":       {snapshot, compact, stale, ends, future, minus},
		"3.4.35":       {snapshot, compact, stale, future, minus},
		"3.4.36":       {snapshot, stale, future, minus},
		"3.4.37":       {snapshot, stale, future, minus},
		"3.4.38":       {stale},
		"3.4.41":       {stale},
		"3.4.42":       nil,
		"3.5.0":        {apart, single, snapshot, nospace, part, slow, compact, stale, back, defrag, start, past, deleted, ends, leases, future, twice, minus},
		"3.5.4":        {single, snapshot, nospace, part, slow, compact, stale, back, defrag, start, past, deleted, ends, leases, future, twice, minus},
		"3.5.5":        {snapshot, nospace, part, slow, compact, stale, back, defrag, past, deleted, ends, leases, future, twice, minus},
		"3.5.7":        {snapshot, part, slow, compact, stale, back, past, deleted, ends, leases, future, twice, minus},
		"3.5.9-eks-1":  {snapshot, part, slow, compact, stale, back, deleted, ends, leases, future, minus},
		"3.5.12":       {snapshot, part, slow, compact, stale, back, ends, leases, future, minus},
		"3.5.13":       {snapshot, part, compact, stale, back, ends, future, minus},
		"v3.5.16":      {snapshot, part, compact, stale, ends, future, minus},
		"3.5.17-rc.0":  {snapshot, compact, stale, future, minus},
		"3.5.18":       {snapshot, stale, future, minus},
		"3.5.22":       {snapshot, stale, minus},
		"3.5.23":       {stale, minus},
		"3.5.24":       {stale},
		"3.5.27":       {stale},
		"3.5.28":       nil,
		"3.6.0-rc.1":   {snapshot, stale, future, minus},
		"3.6.2":        {snapshot, stale, minus},
		"3.6.5":        {stale, minus},
		"3.6.8":        {stale},
		"3.6.9":        nil,
		"3.7.0":        nil,
		"3.7.3":        nil,
		"4.0.0":        nil,
		"not a number": nil,
	} {
		var got []string
		for _, f := range Flaws(version) {
			if f.Hint == "" || f.Mended == "" {
				t.Errorf("%s: %+v", version, f)
			}
			got = append(got, f.Text)
		}
		same := len(got) == len(want)
		for i := range min(len(got), len(want)) {
			same = same && strings.Contains(got[i], want[i])
		}
		if !same {
			t.Errorf("%s: %q, want %q", version, got, want)
		}
		supportedWant := strings.HasPrefix(version, "3.4") || strings.HasPrefix(version, "3.5") || strings.HasPrefix(version, "v3.5") ||
			strings.HasPrefix(version, "3.6") || strings.HasPrefix(version, "3.7")
		if supported(version) != supportedWant {
			t.Errorf("supported(%s) is %v", version, !supportedWant)
		}
	}
}

// Of a version with many flaws only the gravest take lines of their own, and none is left out.
func TestLesserFlaws(t *testing.T) {
	facts := healthy()
	for i := range facts.Members {
		facts.Members[i].Version = "3.4.23"
	}
	told := 0
	for _, f := range Examine(facts).Findings {
		if f.Subject != "version" {
			continue
		}
		if f.Lesser != (told >= 4) {
			t.Errorf("finding %d: %+v", told, f)
		}
		told++
	}
	if want := len(Flaws("3.4.23")); told != want {
		t.Errorf("%d told, want %d", told, want)
	}
}

func TestFindingsAreOrdered(t *testing.T) {
	facts := healthy()
	first := fmt.Sprint(Examine(facts))
	for range 10 {
		if again := fmt.Sprint(Examine(facts)); again != first {
			t.Fatalf("%s\n%s", first, again)
		}
	}
}
