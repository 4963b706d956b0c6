package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"etcdsweep/decode"
	"etcdsweep/decode/manifest"
)

// printer shows records, one after the other.
type printer struct {
	w        io.Writer
	output   string
	secrets  bool   // show what Secrets hold
	registry string // kube-apiserver's --etcd-prefix

	printed    int64
	unreadable int64
	hint       string // for the first of these that has one
}

// shownRecord is a record as programs read it.
type shownRecord struct {
	Key            string          `json:"key"`
	CreateRevision int64           `json:"createRevision"`
	ModRevision    int64           `json:"modRevision"`
	Version        int64           `json:"version"`
	Lease          string          `json:"lease,omitempty"` // as etcdctl writes it
	Bytes          int             `json:"bytes"`           // of the stored value
	Encoding       decode.Encoding `json:"encoding,omitempty"`
	Encryption     string          `json:"encryption,omitempty"`
	MetadataOnly   bool            `json:"metadataOnly,omitempty"`
	Masked         bool            `json:"masked,omitempty"`
	Unreadable     string          `json:"unreadable,omitempty"` // why; there is no object then
	Object         map[string]any  `json:"object,omitempty"`

	manifest *manifest.Manifest
}

func (p *printer) print(r *decode.Record) error {
	shown := p.show(r)
	p.printed++
	if shown.Unreadable != "" {
		p.unreadable++
	}
	if p.output == outputJSON {
		e := json.NewEncoder(p.w)
		e.SetEscapeHTML(false)
		return e.Encode(shown)
	}
	var text strings.Builder
	if p.printed > 1 {
		text.WriteString("---\n")
	}
	shown.comment(&text)
	if shown.manifest != nil {
		if err := shown.manifest.WriteYAML(&text); err != nil {
			return fmt.Errorf("%s: %w", r.Key, err)
		}
	}
	_, err := io.WriteString(p.w, text.String())
	return err
}

// show reads a record, and masks what it must.
func (p *printer) show(r *decode.Record) *shownRecord {
	shown := &shownRecord{
		Key: r.Key, CreateRevision: r.CreateRevision, ModRevision: r.ModRevision, Version: r.Version, Bytes: len(r.Value),
	}
	if r.Lease != 0 {
		shown.Lease = strconv.FormatInt(r.Lease, 16)
	}
	if encryption := decode.Encryption(r.Value); encryption != nil {
		shown.Encryption = encryption.Class()
	}
	m, err := read(r)
	if err != nil {
		shown.Unreadable = err.Error()
		if unreadable, ok := errors.AsType[*decode.UnreadableError](err); ok {
			shown.Unreadable = unreadable.Class()
			p.hint = cmp.Or(p.hint, unreadable.Hint())
		}
		return shown
	}
	if !p.secrets && (m.Secret() || p.underSecrets(r.Key)) {
		m.Mask()
		shown.Masked = true
	}
	shown.manifest, shown.Encoding, shown.MetadataOnly, shown.Object = m, m.Encoding, m.MetadataOnly, m.Object
	return shown
}

// read makes a manifest of what is stored, or of what is encrypted there.
func read(r *decode.Record) (*manifest.Manifest, error) {
	value, err := r.Readable()
	if err != nil {
		return nil, err
	}
	return manifest.Read(value)
}

// secret reports whether a record may be a Secret, by its key or by what it is.
func (p *printer) secret(r *decode.Record) bool {
	m, err := read(r)
	return p.underSecrets(r.Key) || err == nil && m.Secret()
}

func (p *printer) underSecrets(key string) bool {
	return strings.HasPrefix(key, p.registry+"/secrets/")
}

// comment writes in front of an object where it stands and how it is stored.
func (r *shownRecord) comment(text *strings.Builder) {
	line := func(format string, args ...any) { fmt.Fprintf(text, "# "+format+"\n", args...) }
	line("%s", printable(r.Key))
	line("created at revision %d, written at %d, version %d", r.CreateRevision, r.ModRevision, r.Version)
	if r.Lease != "" {
		line("lease %s", r.Lease)
	}
	stored := count(int64(r.Bytes)) + " bytes"
	if r.Encoding != "" {
		stored += " of " + string(r.Encoding)
	}
	if r.Encryption != "" {
		stored += ", " + r.Encryption
	}
	line("%s", stored)
	switch {
	case r.Unreadable != "":
		line("cannot be read: %s", r.Unreadable)
	case r.MetadataOnly:
		line("the type is not built in, and protobuf tells nothing without it: metadata only")
	case r.Masked:
		line("masked; --%s shows what it holds", showSecretsFlag)
	}
}

// printable quotes a key that would break out of its line.
func printable(key string) string {
	if quoted := strconv.Quote(key); quoted != `"`+key+`"` {
		return quoted
	}
	return key
}
