package agent

import (
	"fmt"
	"net"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// notifier tells the service manager how it goes (sd_notify(3)); one without a socket tells nobody.
type notifier struct {
	socket   string
	watchdog time.Duration // at which to tell that the loop comes round; 0: nobody waits for it
	last     time.Time
}

// newNotifier reads what the service manager has put into the environment.
func newNotifier(env func(string) string, pid int) *notifier {
	n := &notifier{socket: env("NOTIFY_SOCKET")}
	if p := env("WATCHDOG_PID"); p == "" || p == strconv.Itoa(pid) {
		if us, err := strconv.ParseUint(env("WATCHDOG_USEC"), 10, 63); err == nil {
			n.watchdog = time.Duration(min(us, uint64(time.Hour/time.Microsecond))) * time.Microsecond / 2
		}
	}
	return n
}

// tell sends lines of the protocol. A manager that does not listen is none of our business.
func (n *notifier) tell(state string) {
	if n.socket == "" {
		return
	}
	name := n.socket
	if name[0] == '@' {
		name = "\x00" + name[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.Write([]byte(state))
}

// beats tells that the loop comes round, as often as the manager wants it.
func (n *notifier) beats(now time.Time) {
	if n.watchdog > 0 && now.Sub(n.last) >= n.watchdog {
		n.last = now
		n.tell("WATCHDOG=1")
	}
}

// reloading tells that a new configuration is being read; ready follows it.
func (n *notifier) reloading() {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return
	}
	n.tell(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", ts.Nano()/1000))
}

func (n *notifier) ready(status string) { n.tell("READY=1\nSTATUS=" + status) }
