package decode_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"etcdsweep/decode"
	"etcdsweep/test/fixtures"
)

// BenchmarkDecode reads the protobuf pods of the zoo: as a projection, and as what a client would make of them.
func BenchmarkDecode(b *testing.B) {
	var values [][]byte
	var size int64
	for record := range records(b, fixtures.Zoo) {
		if object, err := decode.Decode(record.Value); err == nil && object.Encoding == decode.Protobuf && object.Kind == "Pod" {
			values = append(values, record.Value)
			size += int64(len(record.Value))
		}
	}
	b.Run("projection", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(size / int64(len(values)))
		for i := 0; b.Loop(); i++ {
			if _, err := decode.Decode(values[i%len(values)]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("typed", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(size / int64(len(values)))
		for i := 0; b.Loop(); i++ {
			var unknown runtime.Unknown
			var pod corev1.Pod
			if err := unknown.Unmarshal(values[i%len(values)][len(magic):]); err != nil {
				b.Fatal(err)
			}
			if err := pod.Unmarshal(unknown.Raw); err != nil {
				b.Fatal(err)
			}
		}
	})
}
