package decode

import (
	"bytes"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// Reason says why a value cannot be read.
type Reason string

const (
	Empty           Reason = "empty"            // no bytes at all
	Encrypted       Reason = "encrypted"        // k8s:enc:..., see UnreadableError.Provider
	UnknownEncoding Reason = "unknown encoding" // begins like nothing that kube-apiserver stores
	Malformed       Reason = "malformed"        // breaks its encoding's rules, or lacks apiVersion or kind
)

// Why says what an encrypted value was not opened for.
type Why string

const (
	NotTried  Why = ""                       // nobody had keys to try
	NoSuchKey Why = "no such key"            // in the EncryptionConfiguration, for this resource
	NotOpened Why = "wrong key or damaged"   // or, under aesgcm and KMS, moved from another etcd key
	NoAnswer  Why = "plugin does not answer" // absent, hanging or dead
	Refused   Why = "plugin refuses"         // answers with an error
)

// UnreadableError is the error of [Decode].
type UnreadableError struct {
	Reason   Reason
	Encoding Encoding // of a malformed value
	Provider string   // of an encrypted value: "aescbc", "aesgcm", "secretbox", "kms v1", "kms v2", or what a later Kubernetes adds; "" if its header is cut off
	Key      string   // of an encrypted value: the name of its key, or of its KMS plugin, in the EncryptionConfiguration
	Why      Why      // of an encrypted value
	Err      error    // of a malformed value, or of one that was tried: what is wrong, and where
}

// Class groups errors for counting: all values of one class are unreadable for one reason, and one remedy, if any, helps
// them all. "encrypted (aescbc, key key-aescbc)", "encrypted (aescbc, key key-aescbc: wrong key)", "malformed protobuf",
// "unknown encoding", "empty".
func (e *UnreadableError) Class() string {
	switch {
	case e.Reason == Encrypted && e.Provider != "" && e.Why != "":
		return fmt.Sprintf("encrypted (%s, key %s: %s)", e.Provider, e.Key, e.Why)
	case e.Reason == Encrypted && e.Provider != "":
		return fmt.Sprintf("encrypted (%s, key %s)", e.Provider, e.Key)
	case e.Reason == Malformed && e.Encoding != "":
		return fmt.Sprintf("malformed %s", e.Encoding)
	default:
		return string(e.Reason)
	}
}

func (e *UnreadableError) Error() string {
	if e.Err == nil {
		return "value is " + e.Class()
	}
	return fmt.Sprintf("value is %s: %v", e.Class(), e.Err)
}

// Hint says what makes such a value readable, "" if nothing is known to.
func (e *UnreadableError) Hint() string {
	if e.Reason != Encrypted || e.Provider == "" { // no key opens what is cut off
		return ""
	}
	switch e.Why {
	case NotTried:
		return "give kube-apiserver's --encryption-provider-config in --encryption-config"
	case NoSuchKey:
		return "the --encryption-config has no key of that name for the resource: it may be an older or a newer one than kube-apiserver's"
	case NotOpened:
		return "the --encryption-config has another key of that name, or the value is damaged: compare with the file that kube-apiserver reads now"
	case NoAnswer:
		return "start the KMS plugin on this node, at the endpoint that the --encryption-config names"
	default:
		return "the KMS plugin's log says why; its key may be disabled, or not allowed to this node"
	}
}

// Unwrap returns what is wrong, where that is known, else nil.
func (e *UnreadableError) Unwrap() error { return e.Err }

// Encryption tells by which provider and key a value is encrypted: an error of reason [Encrypted], or nil if it is not.
func Encryption(value []byte) *UnreadableError {
	if header, ok := bytes.CutPrefix(value, []byte(encryptedPrefix)); ok {
		return encrypted(header)
	}
	return nil
}

// encrypted reads what follows "k8s:enc:" in an encrypted value: <provider>:<version>:<key>:<ciphertext>
// (apiserver pkg/server/options/encryptionconfig/config.go).
func encrypted(header []byte) *UnreadableError {
	fields := bytes.SplitN(header, []byte(":"), 4)
	if len(fields) < 4 || bytes.ContainsFunc(header[:len(header)-len(fields[3])], unprintable) {
		return &UnreadableError{Reason: Encrypted}
	}
	provider, version := string(fields[0]), string(fields[1])
	if provider == "kms" || version != "v1" {
		provider += " " + version
	}
	return &UnreadableError{Reason: Encrypted, Provider: provider, Key: string(fields[2])}
}

func unprintable(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }

// MismatchError says that a value is not what its key promises. Such a value is evidence of something not understood:
// leave it where it is.
type MismatchError struct {
	Key string
	Err error // what differs
}

func (e *MismatchError) Error() string { return fmt.Sprintf("key %q: %v", e.Key, e.Err) }

// Unwrap returns what differs.
func (e *MismatchError) Unwrap() error { return e.Err }
