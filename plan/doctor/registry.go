package doctor

import (
	"fmt"
	"strings"
)

// access says what etcd's authentication lets us do.
func access(f *Facts) []Finding {
	a := f.Access
	who := fmt.Sprintf("user %s, roles %s", a.User, strings.Join(a.Roles, ", "))
	if len(a.Roles) == 0 {
		who = "user " + a.User + ", without a role"
	}
	switch {
	case f.foreign() || f.Quorum != nil:
		return nil
	case a.Err != nil:
		return unknown("access", a.Err)
	case !a.Enabled:
		return ok("access", "etcd's authentication is off: everything is allowed")
	case a.Root:
		return ok("access", "%s: may do everything", who)
	}
	var missing []string
	if !a.Read {
		missing = append(missing, "read "+f.Prefix+"/")
	}
	if !a.Write {
		missing = append(missing, "write "+f.Prefix+"/ (apply, undo)")
	}
	missing = append(missing, "snapshots (the role root)")
	hint := "use a user with the role root; or grant it: see etcdctl user grant-role, role grant-permission"
	return fail("access", hint, "%s: may not %s", who, strings.Join(missing, ", nor "))
}

// registry says whether Kubernetes is kept under the prefix.
func registry(f *Facts) []Finding {
	const hint = "compare --etcd-prefix with kube-apiserver's"
	switch {
	case f.foreign() || f.Quorum != nil:
		return nil
	case f.KeysErr != nil:
		return unknown("registry", f.KeysErr)
	case f.Keys == 0:
		return fail("registry", hint+", and whether this is the etcd that kube-apiserver uses", "no keys under %s/", f.Prefix)
	case f.SystemErr != nil:
		return fail("registry", hintOf(f.SystemErr, hint), "Namespace kube-system, by which a cluster is known: %v", f.SystemErr)
	case !f.System:
		return fail("registry", hint, "Namespace kube-system, by which a cluster is known, is not under %s/", f.Prefix)
	}
	return ok("registry", "%s keys under %s/", itoa(f.Keys), f.Prefix)
}

// writers says who else writes: controllers that make, and apiservers through which they do.
func writers(f *Facts) []Finding {
	if f.foreign() || f.Quorum != nil || f.KeysErr != nil {
		return nil
	}
	c := f.Controllers
	var all []Finding
	switch {
	case c.Err != nil:
		all = unknown("controllers", c.Err)
	case c.Alive:
		all = warn("controllers", "best stopped for a sweep, on every control-plane node; apply asks for it, with the commands", "%s: %s", c.Name, c.Words)
	case !c.Found:
		all = warn("controllers", "make sure that none runs: without leader election it leaves no trace", "%s: %s", c.Name, c.Words)
	default:
		all = ok("controllers", "%s: %s", c.Name, c.Words)
	}
	if f.ServersErr != nil {
		return append(all, unknown("apiservers", f.ServersErr)...)
	}
	var alive, still []string
	for _, s := range f.APIServers {
		if s.Alive {
			alive = append(alive, s.Name)
		} else {
			still = append(still, s.Name)
		}
	}
	switch {
	case len(alive) > 0 && len(still) == 0:
		return append(all, ok("apiservers", "%s writes", strings.Join(alive, ", "))...)
	case len(alive) > 0:
		return append(all, warn("apiservers", "look at the apiservers that stand still", "%s writes, %s does not", strings.Join(alive, ", "), strings.Join(still, ", "))...)
	}
	return append(all, warn("apiservers", "with kube-apiserver down nodes cannot tell that they live: running pods stay guarded", "none is seen to write")...)
}

// encodings says how values are stored, as far as a sample shows.
func encodings(f *Facts) []Finding {
	if f.foreign() || f.Quorum != nil || f.KeysErr != nil {
		return nil
	}
	if f.EncodingsErr != nil {
		return unknown("values", f.EncodingsErr)
	}
	var words []string
	var all []Finding
	for _, e := range f.Encodings {
		if e.Readable {
			words = append(words, fmt.Sprintf("%s %s", itoa(e.Count), e.Name))
			continue
		}
		hint := "it is counted, and never selected"
		if e.Hint != "" {
			hint = e.Hint + "; until then " + hint
		}
		all = append(all, warn("values", hint, "%s %s cannot be read, such as %s", itoa(e.Count), e.Name, e.Example)...)
	}
	if len(words) > 0 {
		all = append(ok("values", "of a sample, %s", strings.Join(words, ", ")), all...)
	}
	return all
}

// room says whether a snapshot has room.
func room(f *Facts) []Finding {
	r := f.Room
	switch {
	case f.foreign():
		return nil
	case r.Err != nil:
		return unknown("room", r.Err)
	case r.Free < r.Need:
		return fail("room", "make room, or choose another place by --state-dir", "%s has %s free, and a run needs %s for its snapshot", r.Dir, bytes(r.Free), bytes(r.Need))
	}
	return ok("room", "%s has %s free, a snapshot needs %s", r.Dir, bytes(r.Free), bytes(r.Need))
}
