package privilege

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// TestMain runs as the child that gives its rights up, when told to: rights cannot be had again, so no test may do it in process.
func TestMain(m *testing.M) {
	if os.Getenv("PRIVILEGE_TEST_CHILD") == "1" {
		os.Exit(child())
	}
	os.Exit(m.Run())
}

func child() int {
	kept, err := Drop(SetOf(unix.CAP_NET_RAW, unix.CAP_SYS_PTRACE))
	if errors.Is(err, errors.ErrUnsupported) {
		fmt.Println("unsupported")
		return 0
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	now, err := Effective()
	if err != nil || now != kept {
		fmt.Println("effective", now, "kept", kept, err)
		return 1
	}
	// Another thread must have lost them too.
	done := make(chan error)
	go func() { done <- os.Chown("/proc/self/exe", 12345, 12345) }()
	if err := <-done; err == nil {
		fmt.Println("CAP_CHOWN is still there")
		return 1
	}
	fmt.Println("kept", kept)
	return 0
}

func TestDropKeepsOnlyWhatIsNamed(t *testing.T) {
	before, err := Effective()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "PRIVILEGE_TEST_CHILD=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got := strings.TrimSpace(string(out))
	if got == "unsupported" {
		testenv.Beyond(t, "a test binary with cgo, where threads cannot be reached; the program itself is built without")
	}
	want := "kept " + (before & SetOf(unix.CAP_NET_RAW, unix.CAP_SYS_PTRACE)).String()
	if got != want {
		t.Errorf("child says %q, want %q", got, want)
	}
}

func TestSetPrintsNames(t *testing.T) {
	for _, c := range []struct {
		set  Set
		want string
	}{
		{0, "none"},
		{SetOf(unix.CAP_NET_RAW, unix.CAP_BPF), "CAP_BPF, CAP_NET_RAW"},
		{SetOf(unix.CAP_BPF, unix.CAP_CHOWN), "CAP_BPF, 1 others"},
	} {
		if got := c.set.String(); got != c.want {
			t.Errorf("%x: %q, want %q", uint64(c.set), got, c.want)
		}
	}
	if Name(unix.CAP_BPF) != "CAP_BPF" || Name(63) != "capability 63" {
		t.Error("Name")
	}
}
