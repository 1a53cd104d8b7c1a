package host

import (
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/internal/flow"
)

const (
	idA = "4f797c539e6c745de61a93ca3ff892358ecbcaccd8414d5db545c38428142970"
	idB = "26c927d78b3a0ac080354a74649d61cec26c3064426f6173b242356e75a324e3"
	uid = "2f7c1b9d-6f5e-4a0e-9c3b-0d5f7f0a1c22"
	und = "2f7c1b9d_6f5e_4a0e_9c3b_0d5f7f0a1c22"
	hex = "c3cd4e0a7993a1c155cc1bdd3326c7b1"

	user1000 = "/user.slice/user-1000.slice/user@1000.service"
)

var cgroupShapes = []struct {
	name, content string
	want          Identity
}{
	{"docker, cgroupfs driver, v1", "12:pids:/docker/" + idA + "\n1:name=systemd:/docker/" + idA + "\n0::/system.slice/containerd.service",
		Identity{ContainerID: idA, Runtime: "docker"}},
	{"docker, systemd driver, v2", "0::/system.slice/docker-" + idA + ".scope", Identity{ContainerID: idA, Runtime: "docker"}},
	{"docker, systemd driver, v1", "10:devices:/system.slice/docker-" + idA + ".scope\n1:name=systemd:/system.slice/docker-" + idA + ".scope",
		Identity{ContainerID: idA, Runtime: "docker"}},
	{"docker, cgroup parent", "0::/my.slice/my-docker.slice/docker-" + idA + ".scope", Identity{ContainerID: idA, Runtime: "docker"}},
	{"docker rootless", "0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + idA + ".scope",
		Identity{ContainerID: idA, Runtime: "docker"}},
	{"docker, systemd inside", "0::/system.slice/docker-" + idA + ".scope/system.slice/nginx.service",
		Identity{ContainerID: idA, Runtime: "docker", Unit: "container/nginx.service"}},
	{"docker in docker", "0::/docker/" + idA + "/docker/" + idB, Identity{ContainerID: idB, Runtime: "docker"}},
	{"docker with a prefix of the host's", "13:name=systemd:/docker-ce/docker/" + idA, Identity{ContainerID: idA, Runtime: "docker"}},
	{"docker on an old Debian, the id alone", "4:memory:/" + idA, Identity{ContainerID: idA}},
	{"docker, /init of a child in the scope", "0::/system.slice/docker-" + idA + ".scope/init", Identity{ContainerID: idA, Runtime: "docker"}},
	{"nerdctl, systemd driver", "0::/system.slice/nerdctl-" + idA + ".scope", Identity{ContainerID: idA, Runtime: "containerd"}},
	{"containerd namespace, cgroupfs driver", "0::/default/" + idA, Identity{ContainerID: idA}},

	{"kubernetes burstable, containerd, systemd driver (EKS, AL2023)",
		"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + und + ".slice/cri-containerd-" + idA + ".scope",
		Identity{ContainerID: idA, Runtime: "containerd", PodUID: uid}},
	{"kubernetes besteffort, containerd, systemd driver (Bottlerocket)",
		"0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + und + ".slice/cri-containerd-" + idA + ".scope",
		Identity{ContainerID: idA, Runtime: "containerd", PodUID: uid}},
	{"kubernetes guaranteed, containerd, systemd driver",
		"0::/kubepods.slice/kubepods-pod" + und + ".slice/cri-containerd-" + idA + ".scope",
		Identity{ContainerID: idA, Runtime: "containerd", PodUID: uid}},
	{"kubernetes burstable, cgroupfs driver, v1 (GKE)", "11:memory:/kubepods/burstable/pod" + uid + "/" + idA + "\n12:rdma:/\n0::/",
		Identity{ContainerID: idA, PodUID: uid}},
	{"kubernetes guaranteed, cgroupfs driver", "0::/kubepods/pod" + uid + "/" + idA, Identity{ContainerID: idA, PodUID: uid}},
	{"kubernetes besteffort, cgroupfs driver, v2 (k3s)", "0::/kubepods/besteffort/pod" + uid + "/" + idA, Identity{ContainerID: idA, PodUID: uid}},
	{"kubernetes static pod", "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + hex + ".slice/cri-containerd-" + idA + ".scope",
		Identity{ContainerID: idA, Runtime: "containerd", PodUID: hex}},
	{"kubernetes, containerd's cgroupfs driver with systemd's path",
		"1:name=systemd:/system.slice/containerd.service/kubepods-burstable-pod" + und + ".slice:cri-containerd:" + idA,
		Identity{ContainerID: idA, Runtime: "containerd", PodUID: uid}},
	{"kubernetes, the same below kubepods", "0::/kubepods-besteffort-pod" + und + ".slice:cri-containerd:" + idA,
		Identity{ContainerID: idA, Runtime: "containerd", PodUID: uid}},
	{"kubernetes, cri-dockerd", "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + und + ".slice/docker-" + idA + ".scope",
		Identity{ContainerID: idA, Runtime: "docker", PodUID: uid}},
	{"kubernetes, the pod's own cgroup", "0::/kubepods.slice/kubepods-pod" + und + ".slice", Identity{PodUID: uid}},
	{"CRI-O, systemd driver", "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + und + ".slice/crio-" + idA + ".scope",
		Identity{ContainerID: idA, Runtime: "cri-o", PodUID: uid}},
	{"CRI-O, crun's child cgroup", "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + und + ".slice/crio-" + idA + ".scope/container",
		Identity{ContainerID: idA, Runtime: "cri-o", PodUID: uid}},
	{"CRI-O, conmon", "0::/kubepods.slice/kubepods-pod" + und + ".slice/crio-conmon-" + idA + ".scope",
		Identity{ContainerID: idA, Runtime: "cri-o", PodUID: uid}},
	{"CRI-O, conmon in the system slice", "0::/system.slice/crio-conmon-" + idA + ".scope", Identity{ContainerID: idA, Runtime: "cri-o"}},
	{"CRI-O, cgroupfs driver", "0::/kubepods/besteffort/pod" + uid + "/crio-" + idA, Identity{ContainerID: idA, Runtime: "cri-o", PodUID: uid}},
	{"CRI-O, systemd in a pod", "0::/kubepods.slice/kubepods-pod" + und + ".slice/crio-" + idA + ".scope/system.slice/sshd.service",
		Identity{ContainerID: idA, Runtime: "cri-o", PodUID: uid, Unit: "container/sshd.service"}},
	{"kind", "0::/docker/" + idB + "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" +
		und + ".slice/cri-containerd-" + idA + ".scope", Identity{ContainerID: idA, Runtime: "containerd", PodUID: uid}},
	{"kind, cgroupfs driver", "0::/docker/" + idB + "/kubelet/kubepods/burstable/pod" + uid + "/" + idA,
		Identity{ContainerID: idA, PodUID: uid}},
	{"kind, host in systemd form", "0::/system.slice/docker-" + idB + ".scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" +
		und + ".slice/cri-containerd-" + idA + ".scope", Identity{ContainerID: idA, Runtime: "containerd", PodUID: uid}},
	{"minikube, docker driver and runtime", "0::/system.slice/docker-" + idB + ".scope/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" +
		und + ".slice/docker-" + idA + ".scope", Identity{ContainerID: idA, Runtime: "docker", PodUID: uid}},
	{"k3s's server itself", "0::/system.slice/k3s.service", Identity{Unit: "k3s.service"}},
	{"k3s, pods inside of its service", "0::/system.slice/k3s.service/kubepods/besteffort/pod" + uid + "/" + idA,
		Identity{ContainerID: idA, PodUID: uid}},
	{"Bottlerocket's host container", "0::/system.slice/host-containers@admin.service", Identity{Unit: "host-containers@admin.service"}},

	{"ECS on EC2", "9:perf_event:/ecs/7aee6a4f-6bd0-4a7a-8a23-1234567890ab/" + idA, Identity{ContainerID: idA, Runtime: "docker"}},
	{"ECS on EC2, long task ids with the cluster", "9:perf_event:/ecs/prod/" + hex + "/" + idA, Identity{ContainerID: idA, Runtime: "docker"}},
	{"ECS on EC2, v2", "0::/ecstasks.slice/ecstasks-" + hex + ".slice/docker-" + idA + ".scope", Identity{ContainerID: idA, Runtime: "docker"}},
	{"AWS Batch", "1:name=systemd:/ecs/" + hex + "/" + idA + "\n2:cpu:/ecs/" + hex + "/" + idA, Identity{ContainerID: idA, Runtime: "docker"}},
	{"ECS on Fargate", "2:cpu:/ecs/" + hex + "/" + hex + "-2581823527", Identity{ContainerID: hex + "-2581823527"}},

	{"podman, rootful", "0::/machine.slice/libpod-" + idA + ".scope", Identity{ContainerID: idA, Runtime: "podman"}},
	{"podman, rootful, crun's child cgroup", "0::/machine.slice/libpod-" + idA + ".scope/container", Identity{ContainerID: idA, Runtime: "podman"}},
	{"podman, rootless", "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + idA + ".scope/container",
		Identity{ContainerID: idA, Runtime: "podman"}},
	{"podman, conmon", "0::/machine.slice/libpod-conmon-" + idA + ".scope", Identity{ContainerID: idA, Runtime: "podman"}},
	{"podman, quadlet", "0::/system.slice/web.service/libpod-payload-" + idA, Identity{ContainerID: idA, Runtime: "podman", Unit: "web.service"}},
	{"podman, a user's quadlet", "0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service/libpod-payload-" + idA,
		Identity{ContainerID: idA, Runtime: "podman", Unit: "user@1000.service/web.service"}},
	{"podman, pod", "0::/machine.slice/machine-libpod_pod_" + idB + ".slice/libpod-" + idA + ".scope", Identity{ContainerID: idA, Runtime: "podman"}},
	{"podman, cgroupfs manager", "0::/libpod_parent/libpod-" + idA, Identity{ContainerID: idA, Runtime: "podman"}},

	{"LXC, version 1", "3:cpuset:/lxc/web\n1:name=systemd:/lxc/web", Identity{ContainerName: "web", Runtime: "lxc"}},
	{"LXC, version 4 and later", "0::/lxc.payload.web/system.slice/nginx.service",
		Identity{ContainerName: "web", Runtime: "lxc", Unit: "container/nginx.service"}},
	{"LXC, monitor", "0::/lxc.monitor.web", Identity{ContainerName: "web", Runtime: "lxc"}},
	{"LXC on Proxmox", "0::/lxc/101/ns/system.slice/cron.service", Identity{ContainerName: "101", Runtime: "lxc", Unit: "container/cron.service"}},
	{"docker in LXC", "0::/lxc.payload.web/system.slice/docker-" + idA + ".scope", Identity{ContainerID: idA, Runtime: "docker"}},
	{"nspawn, service", "0::/machine.slice/systemd-nspawn@web.service/payload",
		Identity{ContainerName: "web", Runtime: "systemd-nspawn", Unit: "systemd-nspawn@web.service"}},
	{"nspawn, unit inside", "0::/machine.slice/systemd-nspawn@web.service/payload/system.slice/nginx.service",
		Identity{ContainerName: "web", Runtime: "systemd-nspawn", Unit: "systemd-nspawn@web.service/nginx.service"}},
	{"nspawn, scope", "0::/machine.slice/machine-web.scope/payload/init.scope",
		Identity{ContainerName: "web", Runtime: "systemd-nspawn", Unit: "machine-web.scope/init.scope"}},
	{"libvirt", `0::/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/emulator`, Identity{Unit: `machine-qemu\x2d1\x2dvm.scope`}},

	{"service", "0::/system.slice/nginx.service", Identity{Unit: "nginx.service"}},
	{"service with a cgroup of its own below", "0::/system.slice/app.service/worker", Identity{Unit: "app.service"}},
	{"template instance", "0::/system.slice/system-gunicorn.slice/gunicorn@blue.service", Identity{Unit: "gunicorn@blue.service"}},
	{"template instance with escapes", `0::/system.slice/system-systemd\x2dfsck.slice/systemd-fsck@dev-disk-by\x2dlabel-a:b.service`,
		Identity{Unit: `systemd-fsck@dev-disk-by\x2dlabel-a:b.service`}},
	{"login session", "0::/user.slice/user-1000.slice/session-3.scope", Identity{Unit: "session-3.scope"}},
	{"user manager", "0::/user.slice/user-1000.slice/user@1000.service/init.scope", Identity{Unit: "user@1000.service"}},
	{"user's service", "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-foo.service", Identity{Unit: "user@1000.service/app-foo.service"}},
	{"init", "0::/init.scope", Identity{Unit: "init.scope"}},
	{"root", "0::/", Identity{}},
	{"hybrid: unified empty, systemd tells", "12:pids:/system.slice/a.service\n1:name=systemd:/system.slice/a.service\n0::/", Identity{Unit: "a.service"}},
	{"hybrid: the lines differ, the container tells more", "5:memory:/docker/" + idA + "\n1:name=systemd:/system.slice/containerd.service\n0::/system.slice/containerd.service",
		Identity{ContainerID: idA, Runtime: "docker"}},
	{"hybrid: equal rank, unified first", "2:cpu:/system.slice/b.service\n1:name=systemd:/system.slice/c.service\n0::/system.slice/a.service",
		Identity{Unit: "a.service"}},
	{"private cgroup namespace, parent", "0::/..", Identity{}},
	{"private cgroup namespace, sibling", "0::/../cri-containerd-" + idA + ".scope", Identity{ContainerID: idA, Runtime: "containerd"}},
	{"private cgroup namespace, other pod", "0::/../../kubepods-burstable-pod" + und + ".slice/cri-containerd-" + idA + ".scope",
		Identity{ContainerID: idA, Runtime: "containerd", PodUID: uid}},
	{"removed cgroup", "0::/system.slice/docker-" + idA + ".scope (deleted)", Identity{ContainerID: idA, Runtime: "docker"}},
	{"slice alone", "0::/system.slice", Identity{}},
	{"a unit's name that is not UTF-8", "0::/system.slice/x\xff\x1b[31m.service", Identity{Unit: "x??[31m.service"}},
	{"a container's name that is not UTF-8", "0::/lxc.payload.\xff\u202ec1", Identity{ContainerName: "??c1", Runtime: "lxc"}},
	{"a user's cgroup with the name of a pod", "0::" + user1000 + "/kubepods-pod" + und + ".slice", Identity{Unit: "user@1000.service"}},
	{"a user's container with the name of a pod", "0::" + user1000 + "/kubepods.slice/kubepods-pod" + und + ".slice/cri-containerd-" + idA + ".scope",
		Identity{ContainerID: idA, Runtime: "containerd"}},
	{"a user's cgroup with the name of a service", "0::" + user1000 + "/payments.service", Identity{Unit: "user@1000.service/payments.service"}},
	{"a cgroup below a user's service", "0::" + user1000 + "/app.slice/app-foo.service/payments.service", Identity{Unit: "user@1000.service/app-foo.service"}},
	{"a user manager below another", "0::" + user1000 + "/user@0.service/payments.service", Identity{Unit: "user@1000.service/user@0.service/payments.service"}},
	{"a user's cgroup with the name of a machine", "0::" + user1000 + "/machine.slice/systemd-nspawn@web.service/payments.service",
		Identity{ContainerName: "web", Runtime: "systemd-nspawn", Unit: "user@1000.service/systemd-nspawn@web.service/payments.service"}},
	{"a tower of machines", "0::/" + strings.Repeat("systemd-nspawn@web.service/", 50),
		Identity{ContainerName: "web", Runtime: "systemd-nspawn", Unit: strings.Repeat("systemd-nspawn@web.service/", 2) + "systemd-nspawn@web.service"}},
	{"a service's own cgroup with the name of a pod", "0::/system.slice/ci.service/kubepods-pod" + und + ".slice", Identity{Unit: "ci.service"}},
	{"a service's own cgroup with the name of a service", "0::/system.slice/ci.service/k3s.service/kubepods/pod" + uid, Identity{Unit: "ci.service"}},
	{"a login's cgroup with the name of a pod", "0::/user.slice/user-1000.slice/session-3.scope/kubepods/pod" + uid, Identity{Unit: "session-3.scope"}},
	{"an LXC container with the name of a pod in it", "0::/lxc.payload.web/kubepods/pod" + uid + "/" + idA, Identity{ContainerID: idA}},
	{"a machine with the name of a pod in it", "0::/machine.slice/systemd-nspawn@web.service/payload/kubepods/pod" + uid,
		Identity{ContainerName: "web", Runtime: "systemd-nspawn", Unit: "systemd-nspawn@web.service"}},
	{"a pod with the names of another pod and its container in it", "0::/kubepods/pod" + uid + "/" + idA + "/kubepods/pod" + hex + "/" + idB,
		Identity{ContainerID: idA, PodUID: uid}},
	{"a pod with the name of an LXC container in it", "0::/kubepods/pod" + uid + "/" + idA + "/lxc.payload.web", Identity{ContainerID: idA, PodUID: uid}},
	{"a pod with the name of a machine in it", "0::/kubepods/pod" + uid + "/" + idA + "/machine.slice/machine-web.scope",
		Identity{ContainerID: idA, PodUID: uid, Unit: "container/machine-web.scope"}},
	{"podman, systemd in a quadlet", "0::/system.slice/web.service/libpod-payload-" + idA + "/system.slice/payments.service",
		Identity{ContainerID: idA, Runtime: "podman", Unit: "web.service"}},
	{"k3s, an agent by another name", "0::/system.slice/k3s-agent.service/kubepods/besteffort/pod" + uid + "/" + idA, Identity{ContainerID: idA, PodUID: uid}},
	{"half an id is none", "0::/docker/" + idA[:40], Identity{}},
	{"upper case is none", "0::/docker/" + strings.ToUpper(idA), Identity{}},
	{"not a cgroup file", "hello\nworld:x\n", Identity{}},
	{"empty", "", Identity{}},
}

func TestParseCgroup(t *testing.T) {
	for _, c := range cgroupShapes {
		t.Run(c.name, func(t *testing.T) {
			if got := ParseCgroup(c.content); got != c.want {
				t.Errorf("ParseCgroup(%q)\n got %+v\nwant %+v", c.content, got, c.want)
			}
		})
	}
}

// FuzzParseCgroup holds that what is found stands in the input, and is printable, that ids have their form, and that a path says what a file of it says.
func FuzzParseCgroup(f *testing.F) {
	for _, c := range cgroupShapes {
		f.Add(c.content)
	}
	f.Fuzz(func(t *testing.T, content string) {
		id := ParseCgroup(content)
		for _, s := range append(strings.Split(strings.TrimPrefix(id.Unit, insideContainer), "/"), id.ContainerName) {
			if !strings.Contains(flow.Printable(content), s) || strings.ContainsAny(s, "/\n") || flow.Printable(s) != s {
				t.Errorf("%q is not a part of %q", s, content)
			}
		}
		if len(id.Unit) > 3*256 {
			t.Errorf("a unit of %d bytes", len(id.Unit))
		}
		if id.PodUID != "" && !isPodUID(id.PodUID) {
			t.Errorf("pod uid %q", id.PodUID)
		}
		if c := id.ContainerID; c != "" && (!strings.Contains(content, c) || !isHex(c, 64) && !isHex(c[:32], 32)) {
			t.Errorf("container id %q", c)
		}
		if !strings.ContainsAny(content, "\n") {
			if a, b := ParseCgroupPath(content), ParseCgroup("0::"+content); a != b {
				t.Errorf("path %q: %+v, as a file %+v", content, a, b)
			}
		}
	})
}
