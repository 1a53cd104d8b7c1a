package analyze

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
)

// checkNoSecrets fails if a planted secret stands anywhere in a session.
func checkNoSecrets(t testing.TB, s *session.Session) {
	t.Helper()
	text := deep(reflect.ValueOf(s))
	for _, secret := range []string{plantedToken, plantedSignature, plantedCookie, plantedPassword[:15], plantedItem, "AKIAIOSFODNN7EXAMPLE", "IOSFODNN7"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q came out: %s", secret, text)
		}
	}
}

// deep prints a value and all that it points to.
func deep(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return ""
		}
		return deep(v.Elem())
	case reflect.Struct:
		var b strings.Builder
		for i := range v.NumField() {
			b.WriteString(deep(v.Field(i)))
			b.WriteByte('\n')
		}
		return b.String()
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 && v.Kind() == reflect.Slice {
			return string(v.Bytes())
		}
		var b strings.Builder
		for i := range v.Len() {
			b.WriteString(deep(v.Index(i)))
			b.WriteByte('\n')
		}
		return b.String()
	case reflect.Map:
		var b strings.Builder
		for it := v.MapRange(); it.Next(); {
			b.WriteString(deep(it.Key()) + "=" + deep(it.Value()) + "\n")
		}
		return b.String()
	}
	return fmt.Sprint(v)
}
