package control

import (
	"fmt"
	"net"
	"os/user"
	"strconv"
	"syscall"
)

// peer names who is at the other end, as the kernel knows them.
func peer(conn *net.UnixConn) (name string, pid int32, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return "", 0, err
	}
	var cred *syscall.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, failed = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return "", 0, fmt.Errorf("who asks: %w", err)
	}
	uid := strconv.FormatUint(uint64(cred.Uid), 10)
	if u, err := user.LookupId(uid); err == nil {
		return u.Username, cred.Pid, nil
	}
	return "UID " + uid, cred.Pid, nil
}
