package testenv

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// List is the file that names the Debian packages of the tests, below the module's directory.
const List = "scripts/packages.txt"

// Listed reads the packages of [List], given as its text.
func Listed(text string) []string {
	var names []string
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 0 && !strings.HasPrefix(line, "#") {
			names = append(names, fields[0])
		}
	}
	return names
}

// Provided returns an error if a file comes from a Debian package that is there by chance: one that scripts/setup does not install, which
// is neither listed, nor a dependency of a listed one, nor a part of every Debian. What no package owns cannot be checked, and is fine.
func Provided(module, path string) error {
	owners := ownersOf(path)
	if len(owners) == 0 {
		return nil
	}
	list, err := os.ReadFile(filepath.Join(module, List))
	if err != nil {
		return err
	}
	all, err := installed()
	if err != nil {
		return err
	}
	there := all.closure(Listed(string(list)))
	for _, o := range owners {
		if there[o] {
			return nil
		}
	}
	return fmt.Errorf("%s is of package %s, which %s does not bring", path, strings.Join(owners, " or "), List)
}

// ownersOf asks dpkg for the packages of a file, by its names from before and after the folders of /usr were merged.
func ownersOf(path string) []string {
	names := []string{path, strings.TrimPrefix(path, "/usr")}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		names = append(names, real, strings.TrimPrefix(real, "/usr"))
	}
	var owners []string
	// It fails if one of the names is not known; what it prints of the others is right.
	out, _ := exec.Command("dpkg-query", append([]string{"--search", "--"}, names...)...).Output()
	for line := range strings.Lines(string(out)) {
		if packages, _, ok := strings.Cut(line, ": "); ok && !strings.HasPrefix(line, "diversion ") {
			for name := range strings.SplitSeq(packages, ", ") {
				name, _, _ = strings.Cut(name, ":") // an architecture
				owners = append(owners, name)
			}
		}
	}
	return owners
}

// packages are those that are installed.
type packages struct {
	needs     map[string][]string // direct dependencies, alternatives among them
	provides  map[string][]string // packages by the name of what they stand in for
	essential []string
}

var installed = sync.OnceValues(func() (*packages, error) {
	out, err := exec.Command("dpkg-query", "--show", "--showformat=${Package}\t${Essential}\t${Provides}\t${Pre-Depends}, ${Depends}\n").Output()
	if err != nil {
		return nil, fmt.Errorf("list the installed packages: %w", err)
	}
	return parsePackages(out), nil
})

func parsePackages(out []byte) *packages {
	p := &packages{needs: make(map[string][]string), provides: make(map[string][]string)}
	for line := range bytes.Lines(out) {
		f := strings.Split(strings.TrimSuffix(string(line), "\n"), "\t")
		if len(f) != 4 {
			continue
		}
		name := f[0]
		if f[1] == "yes" {
			p.essential = append(p.essential, name)
		}
		for _, v := range relations(f[2]) {
			p.provides[v] = append(p.provides[v], name)
		}
		p.needs[name] = append(p.needs[name], relations(f[3])...)
	}
	return p
}

// relations are the names in a field like "libc6 (>= 2.34), awk | mawk:any".
func relations(field string) []string {
	var names []string
	for part := range strings.FieldsFuncSeq(field, func(r rune) bool { return r == ',' || r == '|' }) {
		if words := strings.Fields(part); len(words) > 0 {
			name, _, _ := strings.Cut(words[0], ":")
			names = append(names, name)
		}
	}
	return names
}

// closure holds everything that is installed with packages, and what every Debian has.
func (p *packages) closure(names []string) map[string]bool {
	there := make(map[string]bool)
	for queue := append(append([]string(nil), names...), p.essential...); len(queue) > 0; {
		name := queue[0]
		queue = queue[1:]
		if there[name] {
			continue
		}
		there[name] = true
		queue = append(queue, p.needs[name]...)
		queue = append(queue, p.provides[name]...)
	}
	return there
}
