package locate

import (
	"path"
	"slices"
	"strings"
	"unicode"
)

// words splits a command line as shells and systemd do, as far as they agree: blanks separate, quotes and backslashes join.
// An unfinished quote ends with the line.
func words(line string) []string {
	var all []string
	var word strings.Builder
	var quote rune
	begun, escaped := false, false
	for _, r := range line {
		switch {
		case escaped:
			if r != '\n' { // which is a line that goes on
				word.WriteRune(r)
				begun = true
			}
			escaped = false
		case r == '\\' && quote != '\'':
			escaped = true
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, begun = r, true
		case unicode.IsSpace(r):
			if begun {
				all = append(all, word.String())
				word.Reset()
				begun = false
			}
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if begun {
		all = append(all, word.String())
	}
	return all
}

// arguments returns what stands behind a program on a command line, and whether the program is on it. It looks through a
// shell ("sh -c"), through programs that start others (kops has "go-runner --log-file=... kube-apiserver"), and through
// hyperkube, which takes the program as its first argument.
func arguments(line []string, program string) ([]string, bool) {
	for i, word := range line {
		if path.Base(word) == program {
			return line[i+1:], true
		}
		if i > 0 && line[i-1] == "-c" {
			if args, found := arguments(words(word), program); found {
				return args, true
			}
		}
	}
	return nil, false
}

// options are the flags of a program, in the order in which each was given.
type options map[string][]string

// parseOptions reads flags as Go's flag packages do. A flag without a value counts as one with an empty value.
func parseOptions(args []string) options {
	all := options{}
	for i := 0; i < len(args); i++ {
		dashed := strings.TrimPrefix(args[i], "-")
		if dashed == args[i] {
			continue
		}
		name, value, found := strings.Cut(strings.TrimPrefix(dashed, "-"), "=")
		if !found && i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
			i++
			value = args[i]
		}
		all[name] = append(all[name], value)
	}
	return all
}

// last returns the value that counts where a flag is given more than once, or "".
func (o options) last(name string) string {
	if values := o[name]; len(values) > 0 {
		return values[len(values)-1]
	}
	return ""
}

// list returns the values of a flag that takes several, comma-separated or repeated.
func (o options) list(name string) []string {
	var all []string
	for _, value := range o[name] {
		all = append(all, split(value)...)
	}
	return all
}

// split splits at commas, without blanks and empty parts.
func split(list string) []string {
	parts := strings.Split(list, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return slices.DeleteFunc(parts, func(part string) bool { return part == "" })
}
