package plan

// Rehearsal says from which file a plan was made, in place of a cluster.
type Rehearsal struct {
	File     string `json:"file"`
	Revision int64  `json:"revision"`         // at which it was read
	SHA256   string `json:"sha256,omitempty"` // of a snapshot; "" of a member's database file
}

// NotApplicable refuses a plan that was made from a file: what it lists is what was there, and nobody has looked at what is. It is
// nil for all others.
func (h *Header) NotApplicable() *RefusedError {
	if h.Rehearsal == nil {
		return nil
	}
	return &RefusedError{
		Reason: "the plan is a rehearsal: it was made from " + h.Rehearsal.File + ", and not from a cluster",
		Advice: "plan again, without --from-snapshot",
	}
}
