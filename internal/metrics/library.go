package metrics

import (
	"github.com/dynwatch/dynwatch/capture/library"
)

// Why there are no library probes at all, though they are wanted.
const (
	LibraryUnsupported = "unsupported" // the kernel cannot
	LibraryNoRights    = "no_rights"   // rights are missing, or were given up
	LibraryBroken      = "broken"      // something else
)

// Library is how library probes stand.
type Library struct {
	Up bool
	// Run counts the attachments so far: with another one, the counters of Stats began anew.
	Run int
	// Missing is one of Library… if there is not what is wanted, else "".
	Missing string
	// Stats are those of the probes that are attached.
	Stats library.Stats
}

// lostByLibraries says how the probes' counters of loss are told.
var lostByLibraries = []lost{
	{"library.ring_full", "library", "ring_full", false},
	{"library.too_large", "library", "too_large", false},
	{"library.unreadable", "library", "unreadable", false},
	{"library.execs_lost", "library", "execs_lost", false},
	{"library.malformed_events", "library", "malformed_events", false},
}

// libraries registers what Library fills.
func (s *Set) libraries() {
	s.libraryUp = s.gauge("library_probes_up", "1 while probes in TLS libraries are attached, else 0.")
	s.libraryProbes = s.gauge("library_probes", "Probes that are attached to TLS libraries.", Label{"library", libraryKinds})
	s.libraryFailures = s.gauge("library_failures", "What should have library probes and has not: 1 where there are none at all (unsupported by the kernel, no_rights, broken), "+
		"files that are unreadable, refused by the kernel or over the limit, and closed: processes, or their files, that the agent may not look at.", Label{"reason", libraryFailures})
	for _, kind := range libraryKinds {
		s.libraryProbes.WithLabelValues(kind)
	}
	for _, reason := range libraryFailures {
		s.libraryFailures.WithLabelValues(reason)
	}
}

// Library shows how library probes stand.
func (s *Set) Library(l Library) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.library.Stats
	if s.library.Run != l.Run {
		was = library.Stats{}
	}
	s.library = l
	for _, x := range lostByLibraries {
		s.eventsLost.WithLabelValues(x.stage, x.reason).Add(grown(l.Stats.Loss[x.name], was.Loss[x.name]))
	}
	s.libraryUp.WithLabelValues().Set(one(l.Up))
	probes := make(map[string]int)
	for kind, n := range l.Stats.Kinds {
		probes[among(libraryKinds, kind, other)] += n
	}
	for _, kind := range libraryKinds {
		s.libraryProbes.WithLabelValues(kind).Set(float64(probes[kind]))
	}
	for reason, n := range map[string]int{
		"unreadable": l.Stats.Unread, "refused": l.Stats.Refused - l.Stats.Unread, "over_limit": l.Stats.Over, "closed": l.Stats.Closed,
		LibraryUnsupported: 0, LibraryNoRights: 0, LibraryBroken: 0,
	} {
		if reason == l.Missing {
			n = 1
		}
		s.libraryFailures.WithLabelValues(reason).Set(float64(n))
	}
}
