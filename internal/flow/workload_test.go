package flow

import "testing"

func TestWorkload(t *testing.T) {
	for _, tt := range []struct {
		name string
		p    *Process
		want Workload
		text string
	}{
		{"nobody", nil, Workload{}, "unknown"},
		{"nothing known", &Process{PID: 7}, Workload{}, "unknown"},
		{"a deployment's pod", &Process{Pod: "orders-7d9f8b6c5d-x2x7p", Namespace: "shop", Unit: "kubelet.service"}, Workload{"pod", "shop", "orders"}, "shop/orders"},
		{"a deployment with dashes", &Process{Pod: "orders-api-v2-6c4b8d7f9-zk4qw", Namespace: "shop"}, Workload{"pod", "shop", "orders-api-v2"}, "shop/orders-api-v2"},
		{"a daemon set's pod", &Process{Pod: "collector-x2x7p", Namespace: "ops"}, Workload{"pod", "ops", "collector"}, "ops/collector"},
		{"a stateful set's pod", &Process{Pod: "db-0", Namespace: "shop"}, Workload{"pod", "shop", "db"}, "shop/db"},
		{"a cron job's pod", &Process{Pod: "report-28473920-b7xkz", Namespace: "ops"}, Workload{"pod", "ops", "report"}, "ops/report"},
		{"a pod named by hand", &Process{Pod: "debug-shell", Namespace: "ops"}, Workload{"pod", "ops", "debug-shell"}, "ops/debug-shell"},
		{"vowels are in no random suffix", &Process{Pod: "web-house", Namespace: "ops"}, Workload{"pod", "ops", "web-house"}, "ops/web-house"},
		{"a pod without its name", &Process{PodUID: "0a1b", ContainerID: "ff"}, Workload{"pod", "", "0a1b"}, "0a1b"},
		{"a unit", &Process{Unit: "orders.service", Exe: "/usr/bin/python3"}, Workload{"unit", "", "orders.service"}, "orders.service"},
		{"a user's unit", &Process{Unit: "user@1000.service/orders.service", Exe: "/usr/bin/python3"},
			Workload{"unit", "", "user@1000.service/orders.service"}, "user@1000.service/orders.service"},
		{"a user's manager is no workload", &Process{Unit: "user@1000.service", Exe: "/usr/bin/aws"}, Workload{"program", "", "/usr/bin/aws"}, "/usr/bin/aws"},
		{"a unit in a container", &Process{Unit: "container/orders.service", ContainerName: "web"}, Workload{"container", "", "web"}, "web"},
		{"a login is no workload", &Process{Unit: "session-3.scope", Exe: "/usr/bin/aws"}, Workload{"program", "", "/usr/bin/aws"}, "/usr/bin/aws"},
		{"a container wins over the unit that its runtime is", &Process{Unit: "docker.service", ContainerID: "0123456789abcdef"}, Workload{"container", "", "0123456789ab"}, "0123456789ab"},
		{"a named container", &Process{ContainerName: "web", ContainerID: "0123456789abcdef"}, Workload{"container", "", "web"}, "web"},
		{"a program", &Process{Exe: "/usr/bin/python3", Comm: "gunicorn"}, Workload{"program", "", "/usr/bin/python3"}, "/usr/bin/python3"},
		{"a program by its task's name", &Process{Comm: "gunicorn"}, Workload{"program", "", "gunicorn"}, "gunicorn"},
		{"a dash at the end", &Process{Pod: "x-", Namespace: "n"}, Workload{"pod", "n", "x-"}, "n/x-"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.p.Workload()
			if got != tt.want || got.String() != tt.text {
				t.Errorf("%+v (%s), want %+v (%s)", got, got, tt.want, tt.text)
			}
		})
	}
}
