package lab

import (
	"bytes"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"etcdsweep/test/fixtures"
)

// What an apiserver wrote must come out of unmarshal and marshal as it went in.
func TestMarshalAsStored(t *testing.T) {
	path, err := fixtures.Unpack(fixtures.Zoo, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pods, jobs := 0, 0
	for record, err := range fixtures.Records(path) {
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(record.Value, []byte(protobufMagic)) {
			continue
		}
		var again []byte
		switch {
		case strings.HasPrefix(record.Key, podsPrefix):
			var pod corev1.Pod
			if err := unmarshal(record.Value, "Pod", &pod); err != nil {
				t.Fatalf("%s: %v", record.Key, err)
			}
			again, err = marshal("v1", "Pod", &pod)
			pods++
		case strings.HasPrefix(record.Key, jobKey("batch", "")):
			var job batchv1.Job
			if err := unmarshal(record.Value, "Job", &job); err != nil {
				t.Fatalf("%s: %v", record.Key, err)
			}
			again, err = marshal("batch/v1", "Job", &job)
			jobs++
		default:
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", record.Key, err)
		}
		if !bytes.Equal(again, record.Value) {
			t.Errorf("%s: encoded again it is not what was stored", record.Key)
		}
	}
	if pods < 4000 || jobs < 2 {
		t.Errorf("compared %d pods and %d jobs", pods, jobs)
	}
}

func TestSuffixesAreUnique(t *testing.T) {
	for _, seed := range []uint64{0, 1, 1 << 63} {
		seen := make(map[string]bool)
		for n := range uint64(300_000) {
			s := suffix(seed, n)
			if len(s) != suffixLen || seen[s] {
				t.Fatalf("seed %d: suffix %d is %q, not a new one", seed, n, s)
			}
			seen[s] = true
		}
	}
}
