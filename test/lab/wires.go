package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// wires are TCP proxies, one before each member's peer port: all that members say to each other goes over them. Which member
// has made a connection is told by whose process has the other end of it.
type wires struct {
	members []*member
	proxies []net.Listener // by the member behind
	serving sync.WaitGroup

	mu   sync.Mutex
	cut  map[int]bool // members that are cut off
	open map[*wire]bool
}

// wire is a connection between two members.
type wire struct {
	from, to int
	ends     [2]net.Conn
}

func (w *wire) close() {
	for _, end := range w.ends {
		_ = end.Close() // the other side may have closed it
	}
}

// newWires puts a proxy before each member, and has the member advertise it.
func newWires(members []*member) (*wires, error) {
	w := &wires{members: members, cut: map[int]bool{}, open: map[*wire]bool{}}
	for to, m := range members {
		proxy, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(err, w.close())
		}
		w.proxies = append(w.proxies, proxy)
		u, err := url.Parse(m.listen)
		if err != nil {
			return nil, errors.Join(err, w.close())
		}
		m.peer = u.Scheme + "://" + proxy.Addr().String()
		w.serving.Go(func() { w.serve(proxy, to, u.Host) })
	}
	return w, nil
}

// serve takes connections to a member until its proxy is closed.
func (w *wires) serve(proxy net.Listener, to int, address string) {
	for {
		conn, err := proxy.Accept()
		if err != nil {
			return
		}
		w.serving.Go(func() { w.connect(conn, to, address) })
	}
}

// connect carries one connection to its end. One of somebody who is no member, or is gone again, is none.
func (w *wires) connect(conn net.Conn, to int, address string) {
	defer conn.Close()
	from, err := w.dialler(conn)
	if err != nil {
		return
	}
	target, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	wire := &wire{from: from, to: to, ends: [2]net.Conn{conn, target}}
	if !w.add(wire) {
		wire.close()
		return
	}
	defer w.remove(wire)
	var both sync.WaitGroup
	for i := range wire.ends {
		both.Go(func() {
			_, _ = io.Copy(wire.ends[i], wire.ends[1-i]) // until one side ends, or it is cut
			wire.close()
		})
	}
	both.Wait()
}

func (w *wires) add(wire *wire) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut[wire.from] || w.cut[wire.to] {
		return false
	}
	w.open[wire] = true
	return true
}

func (w *wires) remove(wire *wire) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, wire)
}

// set cuts a member off from all others, or connects it again.
func (w *wires) set(member int, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[member] = cut
	for wire := range w.open {
		if w.cut[wire.from] || w.cut[wire.to] {
			wire.close()
		}
	}
}

// close ends all connections. The members may have ended before.
func (w *wires) close() error {
	var errs []error
	for _, proxy := range w.proxies {
		errs = append(errs, proxy.Close())
	}
	w.mu.Lock()
	for wire := range w.open {
		wire.close()
	}
	w.mu.Unlock()
	w.serving.Wait()
	return errors.Join(errs...)
}

// dialler returns the member whose process has the other end of a connection.
func (w *wires) dialler(conn net.Conn) (int, error) {
	inode, err := inodeOf(conn.RemoteAddr().(*net.TCPAddr), conn.LocalAddr().(*net.TCPAddr))
	if err != nil {
		return 0, err
	}
	for i, m := range w.members {
		if p := m.pid(); p != 0 && holds(p, inode) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%s: no member's", conn.RemoteAddr())
}

// inodeOf returns the inode of the socket between two local addresses, as /proc/net/tcp has it.
func inodeOf(local, remote *net.TCPAddr) (string, error) {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line) // sl local remote state queues timer retransmits uid timeout inode ...
		if len(fields) > 9 && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", local.Port)) && strings.HasSuffix(fields[2], fmt.Sprintf(":%04X", remote.Port)) {
			return fields[9], nil
		}
	}
	return "", fmt.Errorf("no socket from %s to %s", local, remote)
}

// holds reports whether a process has a socket open.
func holds(pid int, inode string) bool {
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return false
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && to == "socket:["+inode+"]" {
			return true
		}
	}
	return false
}
