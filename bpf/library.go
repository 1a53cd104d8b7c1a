package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
)

// LibraryKind is what an event of a library probe tells.
type LibraryKind uint32

// The kinds, as in library.h.
const (
	LibraryCertificate = LibraryKind(libraryLibraryKindLIBRARY_CERTIFICATE) // Data is a certificate of the peer's, in DER
	LibraryHandshake   = LibraryKind(libraryLibraryKindLIBRARY_HANDSHAKE)   // the chain that came before is about to be judged; Value is how, Data the name that the library was told
	LibraryVerified    = LibraryKind(libraryLibraryKindLIBRARY_VERIFIED)    // what the library's own judgement returned
	LibraryHost        = LibraryKind(libraryLibraryKindLIBRARY_HOST)        // the leaf is compared with the host name in Data
	LibraryAsked       = LibraryKind(libraryLibraryKindLIBRARY_ASKED)       // the program asks for the judgement, which is Value
	LibraryInspected   = LibraryKind(libraryLibraryKindLIBRARY_INSPECTED)   // the program looks at a certificate by itself
)

// LibraryFlags are bits of an event of a library probe.
type LibraryFlags uint16

// The flags, as in library.h.
const (
	LibraryRandomKnown LibraryFlags = 1 << iota // Random holds
	LibraryValueKnown                           // Value holds
	LibraryCallback                             // the program has a function of its own that judges
	LibraryServer                               // this end is the server
	LibraryFirst                                // the first certificate of a message
	LibraryGo                                   // of a handshake: crypto/tls; Value is InsecureSkipVerify, Data the name that it was told
	LibraryGnuTLS                               // GnuTLS; of a handshake: Value is 1 if it verifies by itself, Data the name
	LibrarySession                              // of an inspection: at the certificates of this very session; Code is who asks for them
	LibraryS2N                                  // s2n; of a handshake: Value is 1 if it verifies, Length how many certificates the chain has
	LibraryChain                                // with LibrarySession: at all of them, not at the leaf alone
)

// LibraryEvent is what a probe saw.
type LibraryEvent struct {
	// Time is CLOCK_MONOTONIC nanoseconds.
	Time uint64
	// Strand is what runs the handshake, unique within its process at that time: a thread or a goroutine.
	Strand   uint64
	PID, TID uint32
	Kind     LibraryKind
	Flags    LibraryFlags
	Value    int64
	// Code is an address of the program's own code: of a handshake its function that judges, or is shown messages, of an inspection who asks. 0 is none, or not known.
	Code uint64
	// Random is the ClientHello's.
	Random [32]byte
	// Length is that of the data in the process; Data what was copied of it, valid until the next Read.
	Length int
	Data   []byte
}

// SSLOffsets are where a library keeps what its exported getters give, in bytes from the start of its connection object; 0 is unknown.
type SSLOffsets struct {
	VerifyMode, VerifyCallback, VerifyResult, Server, ClientRandom uint32
	// ClientRandomIn is the offset of a pointer to what ClientRandom lies in; 0: the object itself.
	ClientRandomIn uint32
	// ServerName is the offset of a pointer to the name that the program told the library.
	ServerName uint32
	// Config, of BoringSSL only, is the offset of a pointer to what VerifyMode and VerifyCallback lie in.
	Config uint32
	// GnuTLS and S2N are of those libraries, and exclude all others.
	GnuTLS GnuTLSOffsets
	S2N    S2NOffsets
}

// GnuTLSOffsets are where GnuTLS has the ClientHello's random in a session, and how far its code reaches before the beginning of
// gnutls_pcert_import_x509_raw, and from there on.
type GnuTLSOffsets struct {
	ClientRandom           uint32
	CodeBefore, CodeBehind uint64
}

// S2NOffsets are where s2n has the ClientHello's random, its role and a pointer to its configuration in a connection; and in the configuration the byte
// with the bit that switches verification off, and the program's own judge (0: it can have none).
type S2NOffsets struct {
	ClientRandom, Mode, Config, Off, OffBit, Callback uint32
}

// objects are what a program reads: connections of OpenSSL and BoringSSL, or another library's.
type objects uint8

const (
	objectsOpenSSL objects = iota
	objectsGnuTLS
	objectsS2N
)

// Probe is a program that can be attached to a function of a library.
type Probe struct {
	// Program is its name in library.bpf.c; Return has it run when the function returns.
	Program string
	Return  bool
	// Offsets: the program reads the connection object.
	Offsets bool
	of      objects
}

// The probes.
var (
	OpenSSLCertificate = Probe{Program: "dynwatch_openssl_certificate"}
	OpenSSLHandshake   = Probe{Program: "dynwatch_openssl_handshake", Offsets: true}
	OpenSSLVerified    = Probe{Program: "dynwatch_openssl_verified", Return: true}
	OpenSSLHost        = Probe{Program: "dynwatch_openssl_host"}
	OpenSSLAsked       = Probe{Program: "dynwatch_openssl_asked", Offsets: true}
	OpenSSLPeer        = Probe{Program: "dynwatch_openssl_peer", Offsets: true}
	OpenSSLChain       = Probe{Program: "dynwatch_openssl_chain", Offsets: true}
	OpenSSLInspected   = Probe{Program: "dynwatch_openssl_inspected"}
	GoHandshake        = Probe{Program: "dynwatch_go_handshake"}
	GoCertificates     = Probe{Program: "dynwatch_go_certificates"}

	BoringSSLCertificate = Probe{Program: "dynwatch_boringssl_certificate"}

	GnuTLSName         = Probe{Program: "dynwatch_gnutls_name"}
	GnuTLSVerifies     = Probe{Program: "dynwatch_gnutls_verifies"}
	GnuTLSHook         = Probe{Program: "dynwatch_gnutls_hook"}
	GnuTLSEnd          = Probe{Program: "dynwatch_gnutls_end"}
	GnuTLSHandshake    = Probe{Program: "dynwatch_gnutls_handshake"}
	GnuTLSVerify       = Probe{Program: "dynwatch_gnutls_verify"}
	GnuTLSVerified     = Probe{Program: "dynwatch_gnutls_verified", Return: true, Offsets: true, of: objectsGnuTLS}
	GnuTLSHost         = Probe{Program: "dynwatch_gnutls_host", Offsets: true, of: objectsGnuTLS}
	GnuTLSPeers        = Probe{Program: "dynwatch_gnutls_peers", Offsets: true, of: objectsGnuTLS}
	GnuTLSCompared     = Probe{Program: "dynwatch_gnutls_compared", Offsets: true, of: objectsGnuTLS}
	GnuTLSCertificates = Probe{Program: "dynwatch_gnutls_certificates", Offsets: true, of: objectsGnuTLS}

	S2NCertificates = Probe{Program: "dynwatch_s2n_certificates", Offsets: true, of: objectsS2N}
	S2NPeer         = Probe{Program: "dynwatch_s2n_peer", Offsets: true, of: objectsS2N}
)

// probes are all of them.
var probes = []Probe{
	OpenSSLCertificate, OpenSSLHandshake, OpenSSLVerified, OpenSSLHost, OpenSSLAsked, OpenSSLPeer, OpenSSLChain, OpenSSLInspected,
	GoHandshake, GoCertificates, BoringSSLCertificate,
	GnuTLSName, GnuTLSVerifies, GnuTLSHook, GnuTLSEnd, GnuTLSHandshake, GnuTLSVerify, GnuTLSVerified, GnuTLSHost, GnuTLSPeers, GnuTLSCompared,
	GnuTLSCertificates,
	S2NCertificates, S2NPeer,
}

// execProgram tells of started programs.
const execProgram = "dynwatch_exec"

// needsLibrary is what uprobes ask of the kernel.
const needsLibrary = "Linux 5.10 with CONFIG_UPROBE_EVENTS, and not lockdown=confidentiality"

// Library is the kernel side of the library probes. Attach may be called by one goroutine while another calls Read; the other methods by any.
type Library struct {
	maps    libraryMaps
	loaded  variants
	events  *ringbuf.Reader
	execs   *ringbuf.Reader
	exec    link.Link
	record  ringbuf.Record
	started ringbuf.Record
}

// LoadLibrary loads the programs. Nothing is watched until Attach.
func LoadLibrary() (*Library, error) { return loadLibraryWith(haveMulti()) }

func loadLibraryWith(multi bool) (*Library, error) {
	limited := raiseMemlock()
	l := &Library{loaded: variants{multi: multi, byOffset: make(map[SSLOffsets]*variant)}}
	if err := l.load(); err != nil {
		return nil, errors.Join(withMemlock(err, limited), l.Close())
	}
	return l, nil
}

func (l *Library) load() error {
	spec, err := loadLibrary()
	if err != nil {
		return err
	}
	// Loaded with the first file that needs them, so that a kernel that will not have them has all others.
	for _, p := range probes {
		if p.of == objectsS2N {
			delete(spec.Programs, p.Program)
		}
	}
	coll, err := l.loaded.load(spec, SSLOffsets{}, ebpf.CollectionOptions{})
	if err != nil {
		return err
	}
	if err := coll.Assign(&l.maps); err != nil {
		return err
	}
	// Assign hands the maps over: they are closed with l.maps.
	if l.events, err = ringbuf.NewReader(l.maps.LibraryEvents); err != nil {
		return explain("read the ring buffer", needsLibrary, err)
	}
	if l.execs, err = ringbuf.NewReader(l.maps.LibraryExecs); err != nil {
		return explain("read the ring buffer", needsLibrary, err)
	}
	return nil
}

func (o SSLOffsets) apply(spec *ebpf.CollectionSpec) error {
	return errors.Join(
		spec.Variables["ssl_verify_mode"].Set(o.VerifyMode),
		spec.Variables["ssl_verify_callback"].Set(o.VerifyCallback),
		spec.Variables["ssl_verify_result"].Set(o.VerifyResult),
		spec.Variables["ssl_server"].Set(o.Server),
		spec.Variables["ssl_client_random"].Set(o.ClientRandom),
		spec.Variables["ssl_client_random_in"].Set(o.ClientRandomIn),
		spec.Variables["ssl_server_name"].Set(o.ServerName),
		spec.Variables["ssl_config"].Set(o.Config),
		spec.Variables["gnutls_client_random"].Set(o.GnuTLS.ClientRandom),
		spec.Variables["gnutls_code_before"].Set(o.GnuTLS.CodeBefore),
		spec.Variables["gnutls_code_behind"].Set(o.GnuTLS.CodeBehind),
		spec.Variables["s2n_client_random"].Set(o.S2N.ClientRandom),
		spec.Variables["s2n_mode"].Set(o.S2N.Mode),
		spec.Variables["s2n_config"].Set(o.S2N.Config),
		spec.Variables["s2n_off"].Set(o.S2N.Off),
		spec.Variables["s2n_off_bit"].Set(o.S2N.OffBit),
		spec.Variables["s2n_callback"].Set(o.S2N.Callback),
	)
}

func (l *Library) shared() map[string]*ebpf.Map {
	return map[string]*ebpf.Map{
		"strands": l.maps.Strands, "ignored": l.maps.Ignored, "library_events": l.maps.LibraryEvents,
		"library_execs": l.maps.LibraryExecs, "library_counters": l.maps.LibraryCounters,
		"gnutls_strands": l.maps.GnutlsStrands, "gnutls_sessions": l.maps.GnutlsSessions,
	}
}

// WatchExec begins to tell of programs that are started, by ReadExec.
func (l *Library) WatchExec() error {
	var err error
	l.exec, err = link.AttachRawTracepoint(link.RawTracepointOptions{
		Name: "sched_process_exec", Program: l.loaded.byOffset[SSLOffsets{}].Programs[execProgram],
	})
	return explain("attach to sched_process_exec", needsLibrary, err)
}

// ReadExec waits until deadline for a program to be started, and returns its process id. ErrDeadline: there was none; ErrClosed: after Close.
func (l *Library) ReadExec(deadline time.Time) (pid int, err error) {
	l.execs.SetDeadline(deadline)
	if err := l.execs.ReadInto(&l.started); err != nil {
		return 0, err
	}
	if len(l.started.RawSample) < 8 {
		return 0, ErrMalformed
	}
	return int(binary.NativeEndian.Uint64(l.started.RawSample)), nil
}

// Read fills e with the next event, if there is one. It never waits.
func (l *Library) Read(e *LibraryEvent) (bool, error) {
	if l.events.AvailableBytes() == 0 {
		return false, nil
	}
	l.events.SetDeadline(time.Unix(1, 0))
	if err := l.events.ReadInto(&l.record); err != nil {
		if errors.Is(err, ErrDeadline) {
			return false, nil
		}
		return false, err
	}
	return true, e.decode(l.record.RawSample)
}

const libraryEventSize = int(unsafe.Sizeof(libraryLibraryEvent{}))

// decode reads a record of the ring buffer. b must be aligned to 8 bytes.
func (e *LibraryEvent) decode(b []byte) error {
	if len(b) < libraryEventSize {
		return fmt.Errorf("%w: %d bytes, its header has %d", ErrMalformed, len(b), libraryEventSize)
	}
	r := (*libraryLibraryEvent)(unsafe.Pointer(unsafe.SliceData(b)))
	if int(r.Captured) > len(b)-libraryEventSize {
		return fmt.Errorf("%w: %d captured bytes in %d", ErrMalformed, r.Captured, len(b)-libraryEventSize)
	}
	*e = LibraryEvent{
		Time: r.TsNs, Strand: r.Strand, PID: r.Tgid, TID: r.Tid, Kind: LibraryKind(r.Kind), Flags: LibraryFlags(r.Flags), Value: r.Value, Code: r.Code,
		Random: r.Random, Length: int(r.Length), Data: b[libraryEventSize : libraryEventSize+int(r.Captured)],
	}
	return nil
}

// Ignore has the kernel pass over what a process does, or not any more.
func (l *Library) Ignore(pid int, ignore bool) error {
	if ignore {
		return l.maps.Ignored.Put(uint32(pid), uint8(1))
	}
	if err := l.maps.Ignored.Delete(uint32(pid)); !errors.Is(err, ebpf.ErrKeyNotExist) {
		return err
	}
	return nil
}

// LibraryCounters are the kernel's own counts.
type LibraryCounters struct {
	// Events that found no room in the ring buffer; certificates that were too large; events whose memory could not be read; started
	// programs that were not told.
	RingFull, TooLarge, Unreadable, ExecsLost uint64
	// PassedOver are handshakes of ignored processes: no loss.
	PassedOver uint64
}

// Counters reads the counters.
func (l *Library) Counters() (LibraryCounters, error) {
	var c LibraryCounters
	for _, w := range []struct {
		which libraryLibraryCounter
		to    *uint64
	}{
		{libraryLibraryCounterLIBRARY_LOST_RING, &c.RingFull},
		{libraryLibraryCounterLIBRARY_LOST_LARGE, &c.TooLarge},
		{libraryLibraryCounterLIBRARY_LOST_READ, &c.Unreadable},
		{libraryLibraryCounterLIBRARY_LOST_EXEC, &c.ExecsLost},
		{libraryLibraryCounterLIBRARY_PASSED_OVER, &c.PassedOver},
	} {
		n, err := l.counter(w.which)
		if err != nil {
			return LibraryCounters{}, err
		}
		*w.to = n
	}
	return c, nil
}

// Missed is how many events that a handshake may hang on were lost so far: RingFull and Unreadable of Counters, at less cost.
func (l *Library) Missed() (uint64, error) {
	full, err := l.counter(libraryLibraryCounterLIBRARY_LOST_RING)
	if err != nil {
		return 0, err
	}
	unread, err := l.counter(libraryLibraryCounterLIBRARY_LOST_READ)
	return full + unread, err
}

// counter is one of the kernel's counters, of all processors together.
func (l *Library) counter(which libraryLibraryCounter) (sum uint64, err error) {
	var perCPU []uint64
	if err := l.maps.LibraryCounters.Lookup(uint32(which), &perCPU); err != nil {
		return 0, fmt.Errorf("counter %d: %w", which, err)
	}
	for _, n := range perCPU {
		sum += n
	}
	return sum, nil
}

// CloseExec ends ReadExec.
func (l *Library) CloseExec() error {
	var errs []error
	if l.exec != nil {
		errs = append(errs, l.exec.Close())
		l.exec = nil
	}
	if l.execs != nil {
		errs = append(errs, l.execs.Close())
	}
	return errors.Join(errs...)
}

// Close gives everything back but what Attach returned, which is to be closed before. No other method may be called after it, but Close.
func (l *Library) Close() error {
	errs := []error{l.CloseExec()}
	if l.events != nil {
		errs = append(errs, l.events.Close())
	}
	l.loaded.close()
	errs = append(errs, l.maps.Close())
	return errors.Join(errs...)
}
