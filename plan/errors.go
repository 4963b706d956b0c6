package plan

// RefusedError says that a rule forbids what was asked for. Nothing was written.
type RefusedError struct {
	Reason string
	Advice string // what the operator can do about it
}

func (e *RefusedError) Error() string { return "refused: " + e.Reason }

// Hint returns the advice.
func (e *RefusedError) Hint() string { return e.Advice }
