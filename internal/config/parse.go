package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/dynwatch/dynwatch/internal/nearest"
)

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 20

// File is a configuration with what is known of where its values came from.
type File struct {
	Config *Config
	// Name is the file's; "" if there is none.
	Name string

	text string
	// places of keys and elements in the file.
	places map[string]place
	// origins are flags and variables that values came from, by path.
	origins map[string]string
}

type place struct{ line, column int }

// Without is the configuration without a file.
func Without() *File { return &File{Config: Default(), origins: map[string]string{}} }

// Parse reads a file's content over the defaults. Its error is of type Problems: what is no YAML, keys that do not exist, and values of
// another type. What values say is for Validate to check.
func Parse(name string, data []byte) (*File, error) {
	f := &File{Config: Default(), Name: name, text: string(data), places: map[string]place{}, origins: map[string]string{}}
	if len(data) > maxFile {
		return nil, Problems{{File: name, Text: fmt.Sprintf("the file is larger than %d bytes", maxFile)}}
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return f, nil
	case err != nil:
		return nil, Problems{f.syntax(err)}
	}
	switch err := dec.Decode(new(yaml.Node)); {
	case err == nil:
		return nil, Problems{{File: name, Text: "the file holds several documents (---); use one"}}
	case !errors.Is(err, io.EOF):
		return nil, Problems{f.syntax(err)}
	}
	root := doc.Content[0]
	if root.Tag == nullTag {
		return f, nil
	}
	c := checker{file: f}
	c.walk(root, reflect.TypeFor[Config](), "")
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	if err := root.Decode(f.Config); err != nil {
		return nil, Problems{f.syntax(err)}
	}
	return f, nil
}

const nullTag = "!!null"

// syntax turns the library's error into a problem: "yaml: line 3: what is wrong".
func (f *File) syntax(err error) *Problem {
	p := &Problem{File: f.Name, Text: strings.TrimPrefix(err.Error(), "yaml: ")}
	if rest, ok := strings.CutPrefix(p.Text, "line "); ok {
		if number, text, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(number); err == nil {
				p.Text = text
				f.locate(p, place{line, 1})
			}
		}
	}
	p.Text = strings.ReplaceAll(p.Text, "\n", " ")
	return p
}

func (f *File) locate(p *Problem, at place) {
	p.File, p.Line, p.Column = f.Name, at.line, at.column
	p.Excerpt = excerpt(f.text, at.line, at.column)
}

// checker walks through a document beside the type that it is for.
type checker struct {
	file     *File
	problems Problems
}

func (c *checker) wrong(n *yaml.Node, path, format string, args ...any) {
	p := &Problem{File: c.file.Name, Path: path, Text: fmt.Sprintf(format, args...)}
	c.file.locate(p, place{n.Line, n.Column})
	c.problems = append(c.problems, p)
}

// walk notes where things stand, and what the type has no place for.
func (c *checker) walk(n *yaml.Node, t reflect.Type, path string) {
	if _, ok := c.file.places[path]; !ok {
		c.file.places[path] = place{n.Line, n.Column}
	}
	if n.Kind == yaml.AliasNode || n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 {
		c.wrong(n, path, "anchors (&), aliases (*) and tags (!) are not taken here")
		return
	}
	if n.Tag == nullTag {
		c.wrong(n, path, "a value is missing: %s", wanted(t))
		return
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		if n.Kind == yaml.MappingNode {
			c.mapping(n, t, path)
			return
		}
	case reflect.Slice:
		if n.Kind == yaml.SequenceNode {
			for i, x := range n.Content {
				c.walk(x, t.Elem(), path+"["+strconv.Itoa(i)+"]")
			}
			return
		}
	case reflect.String:
		// A day in a file, 2027-01-31, is text to us.
		if n.Kind == yaml.ScalarNode && (n.Tag == "!!str" || n.Tag == "!!timestamp") {
			return
		}
		if n.Kind == yaml.ScalarNode {
			c.wrong(n, path, "text is wanted here: put it in quotes, as %q", n.Value)
			return
		}
	case reflect.Bool:
		if n.Tag == "!!bool" {
			return
		}
	case reflect.Int:
		if _, err := strconv.Atoi(n.Value); n.Tag == "!!int" && err == nil {
			return
		}
	}
	c.wrong(n, path, "%s is wanted here", wanted(t))
}

func (c *checker) mapping(n *yaml.Node, t reflect.Type, path string) {
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		key := name.Value
		if name.Kind != yaml.ScalarNode || name.Anchor != "" {
			c.wrong(name, path, "a key is wanted here")
			continue
		}
		at := key
		if path != "" {
			at = path + "." + key
		}
		if line, twice := seen[key]; twice {
			c.wrong(name, path, "%q stands in line %d already", key, line)
			continue
		}
		seen[key] = name.Line
		var of reflect.Type
		if t.Kind() == reflect.Map {
			of = t.Elem()
		} else {
			f, keys := field(t, key)
			if f == nil {
				c.wrong(name, path, "unknown key %q%s", key, suggestion(key, keys))
				continue
			}
			of = f.Type
		}
		c.file.places[at] = place{name.Line, name.Column}
		c.walk(value, of, at)
	}
}

// field finds the field of a key, and all keys.
func field(t reflect.Type, key string) (found *reflect.StructField, keys []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		keys = append(keys, keyOf(f))
		if keyOf(f) == key {
			found = &f
		}
	}
	return found, keys
}

func suggestion(word string, known []string) string {
	if near := nearest.Word(word, known); near != "" {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	return ": use " + strings.Join(known, ", ")
}

// wanted says in words what a type takes.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "a section (key: value)"
	case reflect.Slice:
		return "a list ([a, b], or lines with - )"
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	}
	return "text"
}
