package sdk

import (
	"testing"

	"github.com/dynwatch/dynwatch/analyze/session"
	"github.com/dynwatch/dynwatch/internal/flow"
)

// hello is what FromHello looks at.
func hello(ja4 string, alpn []string, extensions ...uint16) *session.TLS {
	return &session.TLS{JA4: ja4, ALPNOffer: alpn, OfferedExtensions: extensions}
}

// The hellos of real clients, but for the last ones.
func TestFromHello(t *testing.T) {
	h1, h2 := []string{"http/1.1"}, []string{"h2", "http/1.1"}
	for name, c := range map[string]struct {
		tls  *session.TLS
		want string
	}{
		"boto3 1.26":             {hello("t13i4311h1_c7886603b240_b26ce05bbdd6", h1, 11, 10, 16, 22, 23, 49, 13, 43, 45, 51, 21), "python"},
		"urllib of Python":       {hello("t13i311000_e8f1e7e78f70_d41ae481755e", nil, 11, 10, 35, 22, 23, 13, 43, 45, 51, 21), ""},
		"curl 7.88":              {hello("t13i3111h2_e8f1e7e78f70_b26ce05bbdd6", h2, 11, 10, 16, 22, 23, 49, 13, 43, 45, 51, 21), ""},
		"Node 20":                {hello("t13i590900_a33745022dd6_1f22a2ca17c4", nil, 11, 10, 35, 22, 23, 13, 43, 45, 51), "node"},
		"Bun 1.4":                {hello("t13d1713h1_5b57614c22b0_7f527383e249", h1, 0, 23, 65281, 10, 11, 35, 16, 5, 13, 18, 51, 45, 43), "node"},
		"Go 1.26":                {hello("t13d1312h2_f57a46bbacb6_ab7e3b40a677", h2, 0, 11, 65281, 23, 18, 5, 10, 13, 50, 16, 43, 51), "go"},
		"Go 1.26, TLS 1.2":       {hello("t12d1011h2_a8cf61a50a39_a92c7c6a82fe", h2, 0, 11, 65281, 23, 18, 5, 10, 13, 50, 16, 43), "go"},
		"Java 17, URLConnection": {hello("t13d371200_db35923f8641_7c76daad20ec", nil, 0, 5, 10, 11, 17, 23, 35, 13, 43, 45, 50, 51), "java"},
		"Java 17, HttpClient":    {hello("t13d3713h2_db35923f8641_7c76daad20ec", h2, 0, 5, 10, 11, 16, 17, 23, 35, 13, 43, 45, 50, 51), "java"},
		"Java 25":                {hello("t13d3113h2_1d947a95fc68_7e1102d2036b", h2, 0, 5, 10, 11, 16, 17, 23, 35, 13, 43, 45, 50, 51), "java"},
		"Java 17, resumed":       {hello("", nil, 0, 5, 10, 11, 17, 23, 35, 13, 43, 45, 50, 51, 41), "java"},
		"with session tickets":   {hello("", h1, 0, 11, 10, 35, 16, 22, 23, 49, 13, 43, 45, 51, 21), ""},
		"Bun's suites with h2":   {hello("t13d1713h2_5b57614c22b0_7f527383e249", h2, 0, 23, 65281, 10, 11, 35, 16, 5, 13, 18, 51, 45, 43), ""},
		"a browser":              {hello("", h2, 0x0a0a, 0, 23, 65281, 10, 11, 35, 16, 5, 13, 18, 51, 45, 43, 27, 0x1a1a, 21), ""},
		"nothing":                {&session.TLS{}, ""},
	} {
		if got := FromHello(c.tls); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestGuessTakesTheMostTelling(t *testing.T) {
	agent := &session.HTTP{UserAgent: "Boto3/1.26.27 Python/3.11.2"}
	process := &flow.Process{PID: 1, SDK: "python", SDKBy: ByProgram}
	tls := hello("", []string{"http/1.1"}, 0, 49)
	for name, c := range map[string]struct {
		s    session.Session
		want session.SDK
	}{
		"what it says of itself":             {session.Session{HTTP: agent, Process: process}, session.SDK{Name: "boto3", By: ByUserAgent}},
		"an agent that nobody knows":         {session.Session{HTTP: &session.HTTP{UserAgent: "x"}, Process: process}, session.SDK{Name: "python", By: ByProgram}},
		"its program, before its hello":      {session.Session{Process: process, TLS: hello("t_"+nodeCiphers+"_", nil)}, session.SDK{Name: "python", By: ByProgram}},
		"its hello":                          {session.Session{TLS: tls}, session.SDK{Name: "python", By: ByClientHello}},
		"a process of which nothing is told": {session.Session{Process: &flow.Process{PID: 1}, TLS: tls}, session.SDK{Name: "python", By: ByClientHello}},
		"nothing":                            {session.Session{}, session.SDK{}},
	} {
		if got := Guess(&c.s); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
