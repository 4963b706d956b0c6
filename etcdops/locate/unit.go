package locate

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// unitDirs are where systemd reads units, the ones that win first (systemd.unit(5)).
func unitDirs() []string {
	return []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}
}

// unit is what is read of a service's unit: how it is started, and with which variables.
type unit struct {
	start    []string // ExecStart, one command each
	env      map[string]string
	envFiles []string
}

// parse reads a unit's text, or that of a drop-in, into what was read before (systemd.syntax(7)). What it does not know it
// passes over.
func (u *unit) parse(text []byte) {
	if u.env == nil {
		u.env = map[string]string{}
	}
	section, pending := "", ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") { // within a line that goes on, too
			continue
		}
		if head, more := strings.CutSuffix(line, `\`); more {
			pending += head + " "
			continue
		}
		line, pending = pending+line, ""
		if strings.HasPrefix(line, "[") {
			section = line
			continue
		}
		if key, value, ok := strings.Cut(line, "="); ok && section == "[Service]" {
			u.set(strings.TrimSpace(key), strings.TrimSpace(value))
		}
	}
}

// set takes one assignment. An empty value forgets those before it.
func (u *unit) set(key, value string) {
	switch key {
	case "ExecStart":
		if value == "" {
			u.start = nil
			return
		}
		u.start = append(u.start, strings.TrimLeft(value, "-@:+!|"))
	case "Environment":
		if value == "" {
			clear(u.env)
		}
		for _, assignment := range words(value) {
			if name, v, ok := strings.Cut(assignment, "="); ok {
				u.env[name] = v
			}
		}
	case "EnvironmentFile":
		if value == "" {
			u.envFiles = nil
			return
		}
		u.envFiles = append(u.envFiles, strings.TrimPrefix(value, "-"))
	}
}

// parseEnv reads a file of variables, NAME=value on each line.
func parseEnv(text []byte) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "export ")
		if name, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ";") {
			if unquoted := words(value); len(unquoted) == 1 {
				value = unquoted[0]
			}
			all[strings.TrimSpace(name)] = value
		}
	}
	return all
}

// command returns the words of the first ExecStart, with their variables: ${NAME} within a word, and $NAME, which is
// split at blanks, as a word of its own.
func (u *unit) command() []string {
	if len(u.start) == 0 {
		return nil
	}
	var pairs []string
	for name, value := range u.env {
		pairs = append(pairs, "${"+name+"}", value)
	}
	expand := strings.NewReplacer(pairs...)
	var line []string
	for _, word := range words(u.start[0]) {
		if name, ok := strings.CutPrefix(word, "$"); ok && !strings.HasPrefix(name, "{") {
			line = append(line, words(u.env[name])...)
			continue
		}
		line = append(line, expand.Replace(word))
	}
	return line
}

// unit reads a unit with its drop-ins and its files of variables. The file is "" if there is no such unit.
func (n node) unit(name string) (file string, u unit, err error) {
	var text []byte
	for _, dir := range unitDirs() {
		if file, text, err = n.read(path.Join(dir, name)); err != nil {
			return file, u, unusable(file, err)
		}
		if text != nil {
			break
		}
	}
	if text == nil {
		return "", u, nil
	}
	u.parse(text)
	dropIns := map[string]string{}
	for _, dir := range slices.Backward(unitDirs()) {
		names, err := n.list(path.Join(dir, name+".d"))
		if err != nil {
			return file, u, err
		}
		for _, dropIn := range names {
			if strings.HasSuffix(dropIn, ".conf") {
				dropIns[dropIn] = path.Join(dir, name+".d", dropIn)
			}
		}
	}
	for _, dropIn := range slices.Sorted(maps.Keys(dropIns)) {
		at, text, err := n.read(dropIns[dropIn])
		if err != nil {
			return file, u, unusable(at, err)
		}
		u.parse(text)
	}
	for _, name := range u.envFiles {
		at, text, err := n.read(name)
		if err != nil {
			return file, u, unusable(at, err)
		}
		maps.Copy(u.env, parseEnv(text))
	}
	return file, u, nil
}

// unitCommand returns the command line of a unit; the file is "" if there is no such unit.
func (n node) unitCommand(name string) (file string, command []string, err error) {
	file, u, err := n.unit(name)
	return file, u.command(), err
}
