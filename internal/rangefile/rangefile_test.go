package rangefile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/endpoint"
)

// edition is a file with n DYNAMODB prefixes, made on a day of September 2026.
func edition(n, day int) string {
	var rows []string
	for i := range n {
		rows = append(rows, fmt.Sprintf(`{"ip_prefix":"3.8.%d.0/24","region":"us-east-1","service":"DYNAMODB"}`, i))
	}
	return fmt.Sprintf(`{"syncToken":"1","createDate":"2026-09-%02d-00-00-00","prefixes":[%s]}`, day, strings.Join(rows, ","))
}

func install(t *testing.T, dst, text string, force bool) (endpoint.Diff, error) {
	t.Helper()
	d, err := Install(dst, strings.NewReader(text), force)
	entries, readErr := os.ReadDir(filepath.Dir(dst))
	if readErr != nil {
		t.Fatal(readErr)
	}
	for _, e := range entries {
		if e.Name() != filepath.Base(dst) {
			t.Errorf("%s is left over", e.Name())
		}
	}
	return d, err
}

func wantFile(t *testing.T, path, text string) {
	t.Helper()
	if b, err := os.ReadFile(path); err != nil || string(b) != text {
		t.Errorf("%s holds %d bytes (%v), want %d", path, len(b), err, len(text))
	}
}

func TestInstall(t *testing.T) {
	dst := filepath.Join(t.TempDir(), "ip-ranges.json")

	// The first is compared with the built-in edition: 94 prefixes of August.
	d, err := install(t, dst, edition(60, 1), false)
	if err != nil || len(d.Added) != 60 || len(d.Removed) != 94 || d.Old.Source != "built-in" || d.New.Source != dst {
		t.Fatalf("first: %d added, %d removed, %v", len(d.Added), len(d.Removed), err)
	}
	wantFile(t, dst, edition(60, 1))
	if info, err := os.Stat(dst); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if r, err := Load(dst); err != nil || r.Source != dst || len(r.List("DYNAMODB")) != 60 {
		t.Errorf("Load: %v", err)
	}

	// A newer one replaces it, the same again changes nothing.
	for range 2 {
		d, err = install(t, dst, edition(61, 3), false)
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(d.Added)+len(d.Removed) != 0 || d.Old.Source != dst {
		t.Errorf("the same edition again: %d added, %d removed", len(d.Added), len(d.Removed))
	}

	refused := map[string]struct {
		text  string
		want  error
		force bool // force helps
	}{
		"older":       {edition(61, 2), ErrOlder, true},
		"shrunk":      {edition(30, 4), ErrShrunk, true},
		"undated":     {strings.Replace(edition(61, 4), "createDate", "created", 1), ErrUndated, true},
		"no DynamoDB": {strings.ReplaceAll(edition(61, 4), "DYNAMODB", "EC2"), endpoint.ErrNoDynamoDB, false},
		"malformed":   {strings.Replace(edition(61, 4), "3.8.5.0/24", "3.8.5.0/33", 1), nil, false},
		"cut short":   {edition(61, 4)[:2000], nil, false},
	}
	for name, tt := range refused {
		t.Run(name+" is refused", func(t *testing.T) {
			d, err := install(t, dst, tt.text, false)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if (d.New != nil) != tt.force {
				t.Errorf("a difference is given: %v", d.New != nil)
			}
			wantFile(t, dst, edition(61, 3))
		})
	}
	for name, tt := range refused {
		t.Run(name+" with force", func(t *testing.T) {
			dst := filepath.Join(t.TempDir(), "ip-ranges.json")
			if _, err := install(t, dst, edition(61, 3), false); err != nil {
				t.Fatal(err)
			}
			_, err := install(t, dst, tt.text, true)
			if (err == nil) != tt.force {
				t.Errorf("%v", err)
			}
			if tt.force {
				wantFile(t, dst, tt.text)
			} else {
				wantFile(t, dst, edition(61, 3))
			}
		})
	}
}

func TestHalfIsNotShrunk(t *testing.T) {
	dst := filepath.Join(t.TempDir(), "ip-ranges.json")
	if _, err := install(t, dst, edition(47, 1), false); err != nil {
		t.Errorf("47 of the built-in 94: %v", err)
	}
}

func TestInstallReplacesADamagedFile(t *testing.T) {
	dst := filepath.Join(t.TempDir(), "ip-ranges.json")
	if err := os.WriteFile(dst, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if d, err := install(t, dst, edition(60, 1), false); err != nil || d.Old.Source != "built-in" {
		t.Errorf("%v", err)
	}
	wantFile(t, dst, edition(60, 1))
}

func TestInstallNeedsADirectory(t *testing.T) {
	_, err := Install(filepath.Join(t.TempDir(), "no", "ip-ranges.json"), strings.NewReader(edition(60, 1)), false)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v, want os.ErrNotExist", err)
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ranges.json")
	if _, err := Load(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(path, []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
}
