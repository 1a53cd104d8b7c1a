package session

// MaskAccessKey is how an AWS access key id may be shown: its first four and last four characters around an ellipsis (AKIA…MPLE).
//
// What IsAccessKey refuses may be a secret that landed in the wrong place, and is shown as the ellipsis alone. An empty id stays
// empty. The full id is never kept.
func MaskAccessKey(id []byte) string {
	switch {
	case len(id) == 0:
		return ""
	case !IsAccessKey(id):
		return "…"
	}
	return string(id[:4]) + "…" + string(id[len(id)-4:])
}

// IsAccessKey reports whether id looks like an access key id: 12 to 128 of [A-Za-z0-9_]. AWS promises at least 16 characters; with
// fewer than 12 the mask would hide too little.
func IsAccessKey(id []byte) bool {
	if len(id) < 12 || len(id) > 128 {
		return false
	}
	for _, b := range id {
		if (b < '0' || b > '9') && (b|0x20 < 'a' || b|0x20 > 'z') && b != '_' {
			return false
		}
	}
	return true
}
