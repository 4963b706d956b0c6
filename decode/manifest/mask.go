package manifest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// Secret reports whether the object is a Secret, of whatever group: what a group of its own calls so is hardly for everybody.
func (m *Manifest) Secret() bool { return m.Object["kind"] == "Secret" }

// Mask hides the values of a Secret: everything but its type and metadata, and in these the annotations, where kubectl and
// others keep a copy of the whole object. What is left is the names of fields, and how long each value is.
func (m *Manifest) Mask() {
	for field, value := range m.Object {
		if metadata, ok := value.(map[string]any); ok && field == "metadata" {
			if annotations, ok := metadata["annotations"]; ok {
				metadata["annotations"] = masked(annotations, length)
			}
			continue
		}
		switch v := value.(type) {
		case string:
			if field == "apiVersion" || field == "kind" || field == "type" {
				continue
			}
		case bool:
			if field == "immutable" {
				continue
			}
		case map[string]any:
			if field == "data" {
				m.Object[field] = masked(v, decodedLength)
				continue
			}
		}
		m.Object[field] = masked(value, length)
	}
}

// masked replaces every value in a tree by its length.
func masked(value any, length func(string) int) any {
	switch v := value.(type) {
	case nil:
		return nil
	case map[string]any:
		for name := range v {
			v[name] = masked(v[name], length)
		}
		return v
	case []any:
		for i := range v {
			v[i] = masked(v[i], length)
		}
		return v
	case string:
		return mask(length(v))
	default:
		text, err := json.Marshal(v)
		if err != nil { // a float that JSON does not have
			return mask(0)
		}
		return mask(len(text))
	}
}

func mask(bytes int) string {
	if bytes == 1 {
		return "*** (1 byte)"
	}
	return fmt.Sprintf("*** (%d bytes)", bytes)
}

func length(text string) int { return len(text) }

// decodedLength is that of what base64 stands for, as in a Secret's data.
func decodedLength(text string) int {
	if raw, err := base64.StdEncoding.DecodeString(text); err == nil {
		return len(raw)
	}
	return len(text)
}
