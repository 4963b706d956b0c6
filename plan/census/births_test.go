package census

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// However births come in, and however they are spread over tallies, the hour before the newest is counted to the minute.
func TestBirths(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 9))
	for range 200 {
		var all []time.Time
		var tallies [3]births
		start := 1_700_000_000 + random.Int64N(1000)
		for range random.IntN(200) {
			at := time.Unix(start+random.Int64N(3*3600), 0)
			all = append(all, at)
			tallies[random.IntN(len(tallies))].add(at)
		}
		last := int64(0)
		for _, at := range all {
			last = max(last, at.Unix()/60)
		}
		want := make([]int64, hour)
		for _, at := range all {
			if minute := at.Unix() / 60; minute > last-hour {
				want[minute-(last-hour+1)]++
			}
		}
		sum := make([]int64, hour)
		for i := range tallies {
			for minute, n := range tallies[i].until(last) {
				sum[minute] += n
			}
		}
		if !slices.Equal(sum, want) {
			t.Fatalf("apart: %d, want %d", sum, want)
		}
		var merged births
		for i := range tallies {
			merged.merge(&tallies[i])
		}
		if got := merged.until(last); !slices.Equal(got, want) {
			t.Fatalf("merged: %d, want %d", got, want)
		}
	}
}

func TestBirthsWithoutATime(t *testing.T) {
	var b births
	b.add(time.Time{})
	b.add(time.Unix(-5, 0))
	if got := b.until(0); slices.Max(got) != 0 {
		t.Errorf("%d", got)
	}
}

func TestUIDOf(t *testing.T) {
	const uid = "fcb5f4a0-cb51-4e64-870f-3ff0550e22db"
	want := [16]byte{0xfc, 0xb5, 0xf4, 0xa0, 0xcb, 0x51, 0x4e, 0x64, 0x87, 0x0f, 0x3f, 0xf0, 0x55, 0x0e, 0x22, 0xdb}
	if got := uidOf(uid); got.uid != want || got.text != "" {
		t.Errorf("%x %q", got.uid, got.text)
	}
	seen := map[id]string{{}: "nothing"}
	for _, other := range []string{uid, "", "FCB5F4A0-cb51-4e64-870f-3ff0550e22db", "fcb5f4a0_cb51-4e64-870f-3ff0550e22db", "gcb5f4a0-cb51-4e64-870f-3ff0550e22db", uid + "0", "none of them"} {
		if before, ok := seen[uidOf(other)]; ok {
			t.Errorf("%q and %q are one", before, other)
		}
		seen[uidOf(other)] = other
	}
}
