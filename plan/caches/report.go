package caches

// Report is what a comparison has found.
type Report struct {
	Plan       string `json:"plan"` // its ID
	Apiservers []Seen `json:"apiservers"`
}

// Seen is one apiserver's part.
type Seen struct {
	URL   string `json:"server"`
	Error string `json:"error,omitempty"` // it does not answer, or not to this user
	Views []View `json:"views,omitempty"`
}

// View is what one watch cache holds of one resource in one namespace.
type View struct {
	Resource  string `json:"resource"` // kind and group, as "Job.batch"
	Namespace string `json:"namespace,omitempty"`
	Revision  int64  `json:"revision"` // that the cache has come to
	Objects   int    `json:"objects"`  // in the cache

	Ghosts   []string `json:"ghosts,omitempty"`   // in the cache, and not in etcd; namespace/name, or name
	Outdated []string `json:"outdated,omitempty"` // in the cache as they were before their last change
	Missing  []string `json:"missing,omitempty"`  // in etcd, and not in the cache

	// Behind says that the cache differs, and did not come to the revision at which etcd was read.
	Behind bool   `json:"behind,omitempty"`
	Error  string `json:"error,omitempty"`
}

func (v *View) set(objects int, revision int64, d difference, behind bool) {
	v.Objects, v.Revision, v.Behind = objects, revision, behind
	v.Ghosts, v.Outdated, v.Missing = d.ghosts, d.outdated, d.missing
}

// Equal reports whether the cache holds what etcd holds. It does not if nobody could tell.
func (v *View) Equal() bool {
	return v.Error == "" && len(v.Ghosts)+len(v.Outdated)+len(v.Missing) == 0
}

// Differs reports whether any cache holds something else than etcd.
func (r *Report) Differs() bool { return r.Wrong() || r.Behind() }

// Wrong reports whether any cache differs from etcd, and has come as far.
func (r *Report) Wrong() bool {
	return r.any(func(v *View) bool { return v.Error == "" && !v.Equal() && !v.Behind })
}

// Behind reports whether any cache did not come as far as etcd.
func (r *Report) Behind() bool { return r.any(func(v *View) bool { return v.Error == "" && v.Behind }) }

func (r *Report) any(is func(*View) bool) bool {
	for _, a := range r.Apiservers {
		for i := range a.Views {
			if is(&a.Views[i]) {
				return true
			}
		}
	}
	return false
}

// Unanswered returns how many apiservers left anything open.
func (r *Report) Unanswered() (count int) {
	for _, a := range r.Apiservers {
		open := a.Error != ""
		for i := range a.Views {
			open = open || a.Views[i].Error != ""
		}
		if open {
			count++
		}
	}
	return count
}
