package plan

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path"
	"slices"
	"strings"
)

// maxLine bounds a line of a plan, so that a file that is no plan cannot fill the memory. Header and trailer name every owner:
// this is room for some 300,000.
const maxLine = 64 << 20

// FileError says why a plan file is refused, and at which line.
type FileError struct {
	Line int // from 1
	Err  error
}

func (e *FileError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns the reason.
func (e *FileError) Unwrap() error { return e.Err }

// Hint says that only a new plan helps.
func (e *FileError) Hint() string {
	if errors.Is(e.Err, errFormat) {
		return "use the etcdsweep that wrote the plan, or plan again with this one"
	}
	return "a plan is used as it was written, whole and unchanged; plan again"
}

var (
	errFormat = errors.New("not a plan of format " + Format)
	errCutOff = errors.New("the plan is cut off: it has no trailer")
)

// File is a plan file that was read and checked from its first byte to its last.
type File struct {
	ID      string
	Header  Header
	Trailer Trailer

	path string
}

// Open reads a plan file and checks all of it: format, order, totals and digest. It is refused with a [FileError] in
// the chain if it was cut off or edited, or has another format. Nothing stays open.
func Open(path string) (*File, error) {
	f := &File{path: path}
	r, err := f.read(func(*Entry) bool { return true })
	if err != nil {
		return nil, fmt.Errorf("plan %s: %w", path, err)
	}
	f.ID, f.Header, f.Trailer = r.id, r.header, r.trailer
	return f, nil
}

// Path returns the path that the plan was opened by.
func (f *File) Path() string { return f.path }

// Collateral yields what goes with the roots and is no entry, in no order, as Entries does the entries.
func (f *File) Collateral() iter.Seq2[Entry, error] { return f.Entries(StageCollateral) }

// Entries yields the entries of a stage, or of all stages if stage is empty, reading the file anew. If the file is no
// longer what was opened, the last pair is an error; for the roots, which are read to their last line only, the next
// reader of the pods says so.
func (f *File) Entries(stage string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		stopped := false
		r, err := f.read(func(e *Entry) bool {
			switch {
			case e.Stage == stage || stage == "" && e.Stage != StageCollateral:
				stopped = !yield(*e, nil)
			case stage == StageRoots:
				stopped = true // the roots stand first, and Open has checked the rest
			}
			return !stopped
		})
		switch {
		case stopped:
		case err != nil:
			yield(Entry{}, fmt.Errorf("plan %s: %w", f.path, err))
		case r.id != f.ID:
			yield(Entry{}, fmt.Errorf("plan %s: its ID was %s when it was opened and is %s now", f.path, f.ID, r.id))
		}
	}
}

// read opens the file for one pass.
func (f *File) read(each func(*Entry) bool) (*reader, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return nil, errors.Unwrap(err) // the caller names the path
	}
	defer file.Close()
	return readPlan(file, each)
}

// reader is one pass over a plan.
type reader struct {
	lines  *bufio.Reader
	line   int // number of the line that was read last
	text   []byte
	digest [sha256.Size]byte

	header  Header
	trailer Trailer
	id      string
}

// Read reads a whole plan from r, as [Open] does from a file, calling each for every entry, and for every line of stage
// collateral, until it returns false. The entry is the callee's only during the call. Errors are of type *FileError, or
// those of r.
func Read(r io.Reader, each func(*Entry) bool) (Header, Trailer, string, error) {
	pass, err := readPlan(r, each)
	if err != nil {
		return Header{}, Trailer{}, "", err
	}
	return pass.header, pass.trailer, pass.id, nil
}

func readPlan(in io.Reader, each func(*Entry) bool) (*reader, error) {
	r := &reader{lines: bufio.NewReaderSize(in, 64<<10)}
	digest := sha256.New()
	refuse := func(err error) error { return &FileError{Line: max(r.line, 1), Err: err} }

	if err := r.next(); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, refuse(errFormat)
		}
		return nil, refuse(err)
	}
	if err := r.readHeader(); err != nil {
		return nil, refuse(err)
	}
	digest.Write(r.text)

	var check totals
	var entry Entry
	for {
		switch err := r.next(); {
		case errors.Is(err, io.EOF):
			r.line++
			return nil, refuse(errCutOff)
		case err != nil:
			return nil, refuse(err)
		}
		if !bytes.HasPrefix(r.text, []byte(`{"stage":`)) {
			break
		}
		if err := entry.parse(r.text); err != nil {
			return nil, refuse(err)
		}
		if err := check.add(&r.header, &entry); err != nil {
			return nil, refuse(err)
		}
		digest.Write(r.text)
		if !each(&entry) {
			return r, nil
		}
	}

	if err := r.readTrailer(digest.Write); err != nil {
		return nil, refuse(err)
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != hex.EncodeToString(r.digest[:]) {
		return nil, refuse(fmt.Errorf("the plan was edited: the lines above have the SHA-256 %s, the trailer says %x", got, r.digest))
	}
	if check.entries != r.trailer.Entries || check.bytes != r.trailer.Bytes {
		return nil, refuse(fmt.Errorf("the trailer counts %d entries of %d bytes, the lines above %d of %d", r.trailer.Entries, r.trailer.Bytes, check.entries, check.bytes))
	}
	if check.collateral != r.trailer.Collateral {
		return nil, refuse(fmt.Errorf("the trailer counts %d lines of collateral, there are %d above", r.trailer.Collateral, check.collateral))
	}
	if err := r.next(); !errors.Is(err, io.EOF) {
		return nil, refuse(errors.New("something follows the trailer"))
	}
	r.id = hex.EncodeToString(r.digest[:])[:IDLength]
	return r, nil
}

// next reads a line, with its newline. A last line without one was cut off.
func (r *reader) next() error {
	r.text = r.text[:0]
	for {
		part, err := r.lines.ReadSlice('\n')
		r.text = append(r.text, part...)
		switch {
		case err == nil:
			r.line++
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
			if len(r.text) > maxLine {
				r.line++
				return fmt.Errorf("longer than %d bytes", maxLine)
			}
		case errors.Is(err, io.EOF) && len(r.text) > 0:
			r.line++
			return errCutOff
		default:
			return err
		}
	}
}

func (r *reader) readHeader() error {
	var format struct {
		Format string `json:"format"`
	}
	if err := json.Unmarshal(r.text, &format); err != nil || format.Format == "" {
		return errFormat
	}
	if format.Format != Format {
		return fmt.Errorf("%w, but of %q", errFormat, format.Format)
	}
	return decodeLine(r.text, &r.header)
}

// readTrailer takes the trailer apart, and gives to the digest what it covers of it.
func (r *reader) readTrailer(digest func([]byte) (int, error)) error {
	line := bytes.TrimSuffix(r.text, []byte("\n"))
	at := len(line) - digestTail
	if !bytes.HasPrefix(line, []byte(`{"entries":`)) || at < 0 ||
		!bytes.HasPrefix(line[at:], []byte(digestOpen)) || !bytes.HasSuffix(line, []byte(digestClose)) {
		return errors.New("neither an entry nor a trailer")
	}
	sum := line[at+len(digestOpen) : len(line)-len(digestClose)]
	if _, err := hex.Decode(r.digest[:], sum); err != nil {
		return fmt.Errorf("sha256: %w", err)
	}
	if _, err := digest(line[:at]); err != nil {
		return err
	}
	return decodeLine(append(line[:at:at], '}'), &r.trailer)
}

// decodeLine decodes one line, strictly: a field that this version does not know may be one that matters.
func decodeLine[T any](line []byte, into *T) error {
	*into = *new(T)
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// totals checks the lines one by one, and counts them.
type totals struct {
	entries, bytes, collateral int64
	roots                      map[string]bool // by key
	below                      bool            // a line that is no root has come
	stage                      int             // place of the last entry's among the stages
	key                        string          // of the last entry
}

func (t *totals) add(header *Header, e *Entry) error {
	stage := slices.Index(Stages(), e.Stage)
	if err := t.check(header, e, stage); err != nil {
		return err
	}
	t.below = t.below || e.Stage != StageRoots
	if e.Stage == StageCollateral {
		t.collateral++
		return nil
	}
	if e.Stage == StageRoots {
		if t.roots == nil {
			t.roots = map[string]bool{}
		}
		t.roots[e.Key] = true
	}
	t.stage, t.key = stage, e.Key
	t.entries++
	t.bytes += int64(e.Bytes)
	return nil
}

func (t *totals) check(header *Header, e *Entry, stage int) error {
	switch {
	case e.Stage == StageCollateral:
	case stage < 0:
		return fmt.Errorf("unknown stage %q", e.Stage)
	case e.Stage == StageRoots && t.below:
		return errors.New("a root stands below what goes after it")
	case e.Stage == StageRoots: // owners come before what they own
		if t.roots[e.Key] {
			return fmt.Errorf("key %q is a root twice", e.Key)
		}
	case stage < t.stage:
		return fmt.Errorf("key %q of stage %s stands below stage %s", e.Key, e.Stage, Stages()[t.stage])
	case stage == t.stage && e.Key <= t.key:
		return fmt.Errorf("key %q does not follow %q", e.Key, t.key)
	}
	switch {
	case e.CreateRevision <= 0 || e.ModRevision < e.CreateRevision:
		return fmt.Errorf("key %q has create revision %d and mod revision %d", e.Key, e.CreateRevision, e.ModRevision)
	case e.UID == "":
		return fmt.Errorf("key %q has no UID", e.Key)
	case e.Bytes < 0:
		return fmt.Errorf("key %q has %d bytes", e.Key, e.Bytes)
	case !strings.HasPrefix(e.Key, header.Prefix+"/") || !strings.HasSuffix(e.Key, "/"+path.Join(e.Namespace, e.Name)):
		return fmt.Errorf("key %q is not one of %s %s/%s under %s", e.Key, e.Kind, e.Namespace, e.Name, header.Prefix)
	}
	if whole := header.Selection.Whole; whole != nil && !whole.names(e) || whole == nil && e.Stage == StageNamespace {
		return fmt.Errorf("key %q of stage %s is not in a namespace that is planned whole", e.Key, e.Stage)
	}
	if why := Never(header.Prefix, e.Key); why != "" && e.Stage != StageCollateral {
		return fmt.Errorf("key %q is never deleted: %s", e.Key, why)
	}
	return nil
}
