package host

import (
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/internal/flow"
)

func TestWorkload(t *testing.T) {
	for _, tt := range []struct {
		name            string
		in              *flow.Process
		namespace, want string
	}{
		{"nobody has none", nil, "", ""},
		{"nothing known", &flow.Process{PID: 3}, "", ""},
		{"a Deployment's pod", &flow.Process{Namespace: "shop", Pod: "orders-7d9f8b6c5d-x2k4p", ContainerName: "app"}, "shop", "orders"},
		{"a Deployment's pod with a short hash", &flow.Process{Namespace: "shop", Pod: "orders-6799fc-x2k4p"}, "shop", "orders"},
		{"a DaemonSet's pod", &flow.Process{Namespace: "infra", Pod: "node-logger-x2k4p"}, "infra", "node-logger"},
		{"a CronJob's pod", &flow.Process{Namespace: "shop", Pod: "export-28934560-x2k4p"}, "shop", "export"},
		{"a StatefulSet's pod", &flow.Process{Namespace: "shop", Pod: "queue-12"}, "shop", "queue"},
		{"a pod with a word of five letters keeps it", &flow.Process{Namespace: "shop", Pod: "orders-cache"}, "shop", "orders-cache"},
		{"a word of suffix letters before a random part stays", &flow.Process{Namespace: "shop", Pod: "my-bcdfgh-x2k4p"}, "shop", "my-bcdfgh"},
		{"a bare pod", &flow.Process{Namespace: "default", Pod: "debug"}, "default", "debug"},
		{"a container without a pod", &flow.Process{ContainerName: "web", Unit: "docker.service", Exe: "/usr/bin/python3"}, "", "web"},
		{"a unit", &flow.Process{Unit: "gunicorn.service", Exe: "/usr/bin/python3"}, "", "gunicorn.service"},
		{"a unit's instances are one", &flow.Process{Unit: "worker@7.service"}, "", "worker@.service"},
		{"a scope is of one run: the program tells more", &flow.Process{Unit: "session-42.scope", Exe: "/usr/bin/python3.13"}, "", "python3.13"},
		{"a program", &flow.Process{Exe: "/opt/app/server", Comm: "server-main"}, "", "server"},
		{"a task's name when nothing else is known", &flow.Process{Comm: "gunicorn"}, "", "gunicorn"},
		{"a name without end is cut", &flow.Process{Comm: strings.Repeat("x", 500)}, "", shorten(strings.Repeat("x", 500), maxWorkload)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			namespace, got := Workload(tt.in)
			if namespace != tt.namespace || got != tt.want {
				t.Errorf("Workload = %q, %q, want %q, %q", namespace, got, tt.namespace, tt.want)
			}
		})
	}
}
