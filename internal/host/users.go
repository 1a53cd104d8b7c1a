package host

import (
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/dynwatch/dynwatch/internal/flow"
)

// users are the names of this host's users, from a file in the form of passwd(5). Directory services are not asked.
type users struct {
	path    string
	names   map[uint32]string
	checked time.Time
	changed time.Time // of the file that names are from
	size    int64
}

// maxPasswd bounds the reading of a passwd file, usersRecheck how often it is looked at for changes.
const (
	maxPasswd    = 4 << 20
	usersRecheck = 10 * time.Second
)

func (u *users) name(uid uint32, now time.Time) string {
	if u.names == nil || now.Sub(u.checked) >= usersRecheck {
		u.checked = now
		u.reload()
	}
	return u.names[uid]
}

func (u *users) reload() {
	f, err := os.Open(u.path)
	if err != nil {
		if u.names == nil {
			u.names = map[uint32]string{}
		}
		return // names that were read before are better than none
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || u.names != nil && info.ModTime().Equal(u.changed) && info.Size() == u.size {
		return
	}
	b, err := io.ReadAll(io.LimitReader(f, maxPasswd))
	if err != nil {
		return
	}
	u.names, u.changed, u.size = parsePasswd(string(b)), info.ModTime(), info.Size()
}

// parsePasswd reads lines of name:password:uid:… and keeps the first name of each uid, as getpwuid(3) does.
func parsePasswd(s string) map[uint32]string {
	names := make(map[uint32]string)
	for line := range strings.Lines(s) {
		fields := strings.SplitN(line, ":", 4)
		if len(fields) < 4 || fields[0] == "" || strings.HasPrefix(fields[0], "#") {
			continue
		}
		uid, err := strconv.ParseUint(fields[2], 10, 32)
		if err != nil {
			continue
		}
		if _, ok := names[uint32(uid)]; !ok {
			names[uint32(uid)] = flow.Printable(shorten(fields[0], 64))
		}
	}
	return names
}
