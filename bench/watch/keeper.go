package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// keeperMark in the environment has this program be a keeper.
const keeperMark = "DYNWATCH_BENCH_KEEPER"

// keeper is a second process that holds the servers' ends of open connections: one process may not have as many files open.
type keeper struct {
	cmd    *exec.Cmd
	socket int
}

func startKeeper() (*keeper, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	theirs := os.NewFile(uintptr(pair[1]), "keeper")
	defer theirs.Close()
	k := &keeper{cmd: exec.Command(os.Args[0]), socket: pair[0]}
	k.cmd.Env = append(os.Environ(), keeperMark+"=1")
	k.cmd.Stdin, k.cmd.Stderr = theirs, os.Stderr
	return k, k.cmd.Start()
}

// keep hands a file over.
func (k *keeper) keep(fd int) error {
	if err := unix.Sendmsg(k.socket, []byte{0}, unix.UnixRights(fd), nil, 0); err != nil {
		return fmt.Errorf("hand a socket over: %w", err)
	}
	return unix.Close(fd)
}

// end closes all that was handed over.
func (k *keeper) end() error {
	return errors.Join(unix.Close(k.socket), k.cmd.Wait())
}

// keepFiles is what a keeper does: it takes files from standard input until that ends.
func keepFiles() error {
	b, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	for {
		n, _, flags, _, err := unix.Recvmsg(0, b, rights, unix.MSG_CMSG_CLOEXEC)
		switch {
		case err != nil:
			return err
		case n == 0:
			return nil
		case flags&unix.MSG_CTRUNC != 0:
			return errors.New("no room for another open file")
		}
	}
}
