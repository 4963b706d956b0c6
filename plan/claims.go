package plan

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"etcdsweep/decode"
)

// namedClaims reads what becomes of the volumes of claims that go.
func (b *builder) namedClaims(ctx context.Context, claims []*owned) (named []Claim, err error) {
	for _, o := range claims {
		claim := Claim{Key: o.line.Key, Volume: o.volume}
		if claim.Volume != "" {
			if claim.ReclaimPolicy, err = b.reclaimPolicy(ctx, claim.Volume); err != nil {
				return nil, err
			}
		}
		named = append(named, claim)
	}
	return named, nil
}

// reclaimPolicy reads what becomes of a volume without its claim; "" if that cannot be known.
func (b *builder) reclaimPolicy(ctx context.Context, volume string) (string, error) {
	volumes, _ := decode.Lookup(schema.GroupKind{Kind: "PersistentVolume"})
	record, err := b.source.Get(ctx, volumes.Key(b.opts.Prefix, "", volume))
	if err != nil || record == nil {
		return "", err
	}
	object, class, err := b.read(volumes, record)
	if err != nil || class != "" {
		return "", err
	}
	return object.ReclaimPolicy, nil
}

const namedClaims = 10 // in one refusal

// claimWords names claims of which what is on their volumes may be lost.
func claimWords(claims []Claim, all int64) string {
	var words []string
	for i := range claims[:min(len(claims), namedClaims)] {
		words = append(words, claims[i].String())
	}
	if more := all - int64(len(words)); more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	return "what is on the volumes of these claims may be lost: " + strings.Join(words, ", ")
}

// claims counts all claims, named or not.
func (c *Collateral) claims() int64 {
	for _, kind := range c.Kinds {
		if kind.Reason == claimKind {
			return kind.Count
		}
	}
	return 0
}
