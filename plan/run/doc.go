// Package run has what carrying out a plan and undoing it have in common: the run's directory and the lock on its cluster,
// the events that a run tells, the ways in which it ends, and writes whose answers may be lost.
package run
