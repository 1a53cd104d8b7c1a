// Package testschema holds what tests make dynwatch write to its published JSON schemas.
package testschema

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// Schema is a compiled schema. Formats (date-time, ipv4, …) are asserted.
type Schema struct{ compiled *jsonschema.Schema }

// Events is docs/events.schema.json, the contract of all JSON output.
func Events(t testing.TB) *Schema {
	t.Helper()
	return Load(t, "docs/events.schema.json")
}

// Load compiles the schema in a file, named from the module's directory.
func Load(t testing.TB, name string) *Schema {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(testenv.Module(t), name))
	if err != nil {
		t.Fatal(err)
	}
	return Parse(t, name, data)
}

// Parse compiles a schema that is given as JSON; name stands in its errors.
func Parse(t testing.TB, name string, data []byte) *Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(name, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return &Schema{s}
}

// Check returns the JSON value of a text, and an error if it is none or not by the schema.
func (s *Schema) Check(text []byte) (any, error) {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	return v, s.compiled.Validate(v)
}
