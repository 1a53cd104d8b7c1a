package config

import (
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"

	"github.com/dynwatch/dynwatch/analyze/rules"
)

// Schema is the JSON schema (draft 2020-12) of the configuration file. Editors that speak yaml-language-server complete and check by it.
func Schema() *jsonschema.Schema {
	r := jsonschema.Reflector{FieldNameTag: "yaml", RequiredFromJSONSchemaTags: true, Anonymous: true, ExpandedStruct: true}
	s := r.Reflect(&Config{})
	s.Title = "dynwatch agent configuration"
	ids := make([]any, 0, 16)
	for _, x := range rules.All() {
		ids = append(ids, x.ID)
	}
	if severity, ok := s.Properties.Get("severity"); ok {
		severity.PropertyNames = &jsonschema.Schema{Enum: ids}
		severity.AdditionalProperties = &jsonschema.Schema{Type: "string", Enum: severityWords}
	}
	if exception := s.Definitions["Exception"]; exception != nil {
		if list, ok := exception.Properties.Get("rules"); ok {
			list.Items = &jsonschema.Schema{Type: "string", Enum: ids}
		}
	}
	return s
}

var severityWords = []any{"none", "low", "medium", "high", "critical"}

// keyOf is the key of a struct's field in YAML.
func keyOf(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name
}
