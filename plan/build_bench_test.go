package plan_test

import (
	"context"
	"io"
	"iter"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
	"etcdsweep/plan"
	"etcdsweep/test/fixtures"
)

// remembered gives out records that were read before, so that nothing but planning is measured.
type remembered map[string][]decode.Record // by prefix

func (r remembered) Get(_ context.Context, key string) (*decode.Record, error) {
	for _, record := range r[key] {
		return &record, nil
	}
	return nil, nil
}

func (r remembered) Scan(_ context.Context, prefix string) iter.Seq2[decode.Record, error] {
	return func(yield func(decode.Record, error) bool) {
		for _, record := range r[prefix] {
			if !yield(record, nil) {
				return
			}
		}
	}
}

func (r remembered) ScanKeys(ctx context.Context, prefix string) iter.Seq2[decode.Record, error] {
	return r.Scan(ctx, prefix)
}

func (r remembered) Count(_ context.Context, prefix string) (int64, error) {
	return int64(len(r[prefix])), nil
}

func (r remembered) CountEach(_ context.Context, prefixes []string) ([]int64, error) {
	return make([]int64, len(prefixes)), nil
}

func (remembered) Revision(context.Context, string) (int64, error) { return 1 << 40, nil }

// BenchmarkBuild plans the 4,000 pods of a Job among the 4,390 of its namespace.
func BenchmarkBuild(b *testing.B) {
	path, err := fixtures.Unpack(fixtures.Zoo, b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	const prefix = "/registry/pods/batch/"
	source := remembered{}
	for record, err := range fixtures.Records(path) {
		if err != nil {
			b.Fatal(err)
		}
		if strings.HasPrefix(record.Key, prefix) {
			source[prefix] = append(source[prefix], record)
		} else {
			source[record.Key] = []decode.Record{record}
		}
	}
	query := plan.Query{Owners: []plan.OwnerName{{GroupKind: schema.GroupKind{Group: "batch", Kind: "Job"}, Namespace: "batch", Name: "runaway"}}}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, trailer, err := plan.Build(b.Context(), source, query, plan.Options{Prefix: "/registry", Now: time.Now()}, io.Discard); err != nil || trailer.Entries != 4001 {
			b.Fatal(trailer.Entries, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(source[prefix])), "ns/pod")
}
