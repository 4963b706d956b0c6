// Package control lets whoever may write to a run's directory look at the run, and slow, pause or end it, while another
// process carries it out: a server in that process listens on a Unix socket in the directory, and the client asks it.
//
// A message is a line of JSON, of [MaxRequest] or [MaxAnswer] bytes at most; docs/formats.md has the fields. A connection asks
// once. What cannot be understood whole is refused, and changes nothing.
//
// It guarantees that a word is told to the [Driver] with the user and the process that gave it, as the kernel knows them, and
// that nobody who asks holds up the run: a client that does not read is left. It does not guarantee that each line that the run
// says reaches those who watch: the oldest are left out, and counted.
package control
