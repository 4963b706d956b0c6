package lab_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"etcdsweep/test/lab"
)

func TestChanged(t *testing.T) {
	_, client := startLab(t, lab.Config{})
	jobs, err := lab.Fill(t.Context(), client, lab.Incident{Jobs: 2, Pods: 100})
	if err != nil {
		t.Fatal(err)
	}
	bystanders, err := lab.Bystanders(t.Context(), client, jobs)
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := lab.WriteBystanders(&file, bystanders); err != nil {
		t.Fatal(err)
	}
	if bystanders, err = lab.ReadBystanders(&file); err != nil {
		t.Fatal(err)
	}
	check := func(want ...lab.Change) {
		t.Helper()
		got, err := lab.Changed(t.Context(), client, bystanders)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("changed: %v, want %v", got, want)
		}
	}
	check()

	// The whole runaway goes, and nobody else notices.
	swept := 0
	r, err := client.Get(t.Context(), "/registry/pods/batch/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range r.Kvs {
		if pod := decodePod(t, kv.Value); pod != nil && (pod.Labels["job-name"] == "runaway" || pod.Labels["job-name"] == "runaway-b") {
			if _, err := client.Delete(t.Context(), string(kv.Key)); err != nil {
				t.Fatal(err)
			}
			swept++
		}
	}
	for _, job := range jobs {
		if _, err := client.Delete(t.Context(), job.Key()); err != nil {
			t.Fatal(err)
		}
	}
	if swept != 100 {
		t.Errorf("swept %d pods, want 100", swept)
	}
	check()

	// One byte, one revision, one key.
	const changed, again, gone = "/registry/jobs/batch-2/runaway", "/registry/jobs/batch/runaway-2", "/registry/jobs/batch/runaway-b-2"
	for _, key := range []string{changed, again} {
		r, err := client.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		value := r.Kvs[0].Value
		if key == changed {
			value[len(value)/2] ^= 1
		}
		if _, err := client.Put(t.Context(), key, string(value)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	check(lab.Change{Key: changed, What: "another value"}, lab.Change{Key: again, What: "written again"}, lab.Change{Key: gone, What: "gone"})
}

func TestReadBystandersRefuses(t *testing.T) {
	for _, line := range []string{"", "1 abcd /key", "x " + strings.Repeat("00", 32) + " /key", "1 " + strings.Repeat("zz", 32) + " /key"} {
		if _, err := lab.ReadBystanders(strings.NewReader(line + "\n")); err == nil {
			t.Errorf("read %q as a bystander", line)
		}
	}
}
