package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/dynwatch/dynwatch/internal/config"
	"github.com/dynwatch/dynwatch/internal/flow"
	"github.com/dynwatch/dynwatch/internal/host"
)

func TestAnExceptionCoversWhatItNames(t *testing.T) {
	day := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	gunicorn := &flow.Process{
		PID: 7, Comm: "gunicorn", Exe: "/opt/shop/bin/gunicorn", ContainerName: "web", ContainerID: "c0ffee00c0ffee00c0ffee00c0ffee00",
		Pod: "orders-7d9f8b6c5d-x2k4p", Namespace: "shop", Unit: "kubelet.service",
	}
	for _, tt := range []struct {
		name string
		e    config.Exception
		p    *flow.Process
		rule string
		at   time.Time
		want bool
	}{
		{"the program's file name", config.Exception{Process: "gunicorn"}, gunicorn, "plaintext", day, true},
		{"the program's path", config.Exception{Process: "/opt/*/bin/gunicorn"}, gunicorn, "plaintext", day, true},
		{"a star does not cross a slash", config.Exception{Process: "/opt/*"}, gunicorn, "plaintext", day, false},
		{"another program", config.Exception{Process: "python*"}, gunicorn, "plaintext", day, false},
		{"a task's name is not the program's", config.Exception{Process: "worker"}, &flow.Process{Comm: "worker", Exe: "/usr/bin/python3"}, "plaintext", day, false},
		{"a task's name where the program is not known", config.Exception{Process: "worker"}, &flow.Process{Comm: "worker"}, "plaintext", day, true},
		{"a container's name", config.Exception{Container: "we?"}, gunicorn, "plaintext", day, true},
		{"the beginning of a container's id", config.Exception{Container: "c0ffee00c0ff"}, gunicorn, "plaintext", day, true},
		{"too short a beginning", config.Exception{Container: "c0ffee"}, gunicorn, "plaintext", day, false},
		{"a pod", config.Exception{Namespace: "shop", Pod: "orders-*"}, gunicorn, "plaintext", day, true},
		{"a pod of another namespace", config.Exception{Namespace: "bank", Pod: "orders-*"}, gunicorn, "plaintext", day, false},
		{"a unit", config.Exception{Unit: "kubelet.*"}, gunicorn, "plaintext", day, true},
		{"all patterns must fit", config.Exception{Unit: "kubelet.*", Process: "java"}, gunicorn, "plaintext", day, false},
		{"another rule", config.Exception{Process: "gunicorn"}, gunicorn, "tls-version", day, false},
		{"nobody knows the process", config.Exception{Process: "gunicorn"}, nil, "plaintext", day, false},
		{"nothing is known of the process", config.Exception{Process: "?*"}, &flow.Process{}, "plaintext", day, false},
		{"the last day", config.Exception{Process: "gunicorn", Expires: "2026-11-22"}, gunicorn, "plaintext", day, true},
		{"the day after", config.Exception{Process: "gunicorn", Expires: "2026-11-22"}, gunicorn, "plaintext", day.Add(12 * time.Hour), false},
		{"an end that does not parse", config.Exception{Process: "gunicorn", Expires: "never"}, gunicorn, "plaintext", day, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.e.Rules, tt.e.Reason = []string{"plaintext"}, "a test"
			if tt.e.Expires == "" {
				tt.e.Expires = "2027-01-31"
			}
			s := Exceptions(&config.Config{Exceptions: []config.Exception{tt.e}})
			if got := s.Covers(tt.rule, tt.p, tt.at); got != tt.want {
				t.Errorf("covers = %t, want %t", got, tt.want)
			}
		})
	}
}

// TestNobodyPassesForAPodOrUnit: whoever was given a cgroup may make others below it, of any name.
func TestNobodyPassesForAPodOrUnit(t *testing.T) {
	const uid = "2f7c1b9d-6f5e-4a0e-9c3b-0d5f7f0a1c22"
	const pod = "kubepods.slice/kubepods-pod2f7c1b9d_6f5e_4a0e_9c3b_0d5f7f0a1c22.slice"
	payments := []config.Exception{{Namespace: "bank", Pod: "payments-*"}, {Unit: "payments.service"}, {Unit: "*[^0-9]payments.service"}}
	users := []config.Exception{{Unit: "user@1000.service/*"}}
	for path, tt := range map[string]struct {
		exceptions []config.Exception
		want       bool
	}{
		"/" + pod:                        {payments, true},
		"/system.slice/payments.service": {payments, true},
		"/user.slice/user-1000.slice/user@1000.service/" + pod:               {payments, false},
		"/user.slice/user-1000.slice/user@1000.service/payments.service":     {payments, false},
		"/user.slice/user-1000.slice/session-3.scope/" + pod:                 {payments, false},
		"/system.slice/ci.service/" + pod:                                    {payments, false},
		"/system.slice/ci.service/payments.service":                          {payments, false},
		"/lxc.payload.web/" + pod:                                            {payments, false},
		"/lxc.payload.web/system.slice/payments.service":                     {payments, false},
		"/machine.slice/systemd-nspawn@web.service/payload/payments.service": {payments, false},
		"/user.slice/user-1000.slice/user@1000.service/app.slice/x.service":  {users, true},
		"/user.slice/user-1001.slice/user@1001.service/app.slice/x.service":  {users, false},
	} {
		id := host.ParseCgroupPath(path)
		p := &flow.Process{PID: 7, PodUID: id.PodUID, Unit: id.Unit, ContainerID: id.ContainerID, ContainerName: id.ContainerName}
		if p.PodUID == uid { // as the kubelet's directories tell
			p.Namespace, p.Pod = "bank", "payments-0"
		}
		got := false
		for _, e := range tt.exceptions {
			e.Rules, e.Reason, e.Expires = []string{"plaintext"}, "a test", "2027-01-31"
			s := Exceptions(&config.Config{Exceptions: []config.Exception{e}})
			got = got || s.Covers("plaintext", p, time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC))
		}
		if got != tt.want {
			t.Errorf("%s: covered %t, want %t: %+v", path, got, tt.want, id)
		}
	}
}

func TestExpiredExceptionsAreSaidAndCounted(t *testing.T) {
	s := Exceptions(&config.Config{Exceptions: []config.Exception{
		{Rules: []string{"plaintext"}, Unit: "a.service", Reason: "old", Expires: "2026-01-31"},
		{Rules: []string{"plaintext"}, Unit: "b.service", Reason: "new", Expires: "2027-01-31"},
	}})
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	lines := s.Expired(now)
	if len(lines) != 1 || !strings.Contains(lines[0], "exceptions[0] for plaintext has expired (2026-01-31) and no longer applies: old") {
		t.Errorf("%q", lines)
	}
	if active, expired := s.Count(now); active != 1 || expired != 1 {
		t.Errorf("%d active, %d expired", active, expired)
	}
}
