package bpf

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"

	"github.com/dynwatch/dynwatch/internal/testenv"
)

// What Linux 5.10, the oldest kernel that is supported, gives programs, by type (net/core/filter.c, kernel/bpf/helpers.c,
// kernel/trace/bpf_trace.c at v5.10). It is a list of its own because what the kernel of a developer accepts says nothing about it.
var (
	everywhere510 = []asm.BuiltinFunc{
		asm.FnMapLookupElem, asm.FnMapUpdateElem, asm.FnMapDeleteElem, asm.FnMapPushElem, asm.FnMapPopElem, asm.FnMapPeekElem,
		asm.FnGetPrandomU32, asm.FnGetSmpProcessorId, asm.FnGetNumaNodeId, asm.FnTailCall, asm.FnKtimeGetNs, asm.FnKtimeGetBootNs,
		asm.FnRingbufOutput, asm.FnRingbufReserve, asm.FnRingbufSubmit, asm.FnRingbufDiscard, asm.FnRingbufQuery, asm.FnJiffies64,
		asm.FnPerCpuPtr, asm.FnThisCpuPtr, asm.FnTracePrintk, asm.FnGetCurrentTask, asm.FnProbeReadUser, asm.FnProbeReadKernel,
		asm.FnProbeReadUserStr, asm.FnProbeReadKernelStr, asm.FnSnprintfBtf,
	}
	tracing510 = []asm.BuiltinFunc{
		asm.FnProbeRead, asm.FnProbeReadStr, asm.FnProbeWriteUser, asm.FnGetCurrentPidTgid, asm.FnGetCurrentUidGid, asm.FnGetCurrentComm,
		asm.FnPerfEventRead, asm.FnCurrentTaskUnderCgroup, asm.FnSendSignal, asm.FnSendSignalThread, asm.FnPerfEventReadValue,
		asm.FnGetCurrentCgroupId, asm.FnGetNsCurrentPidTgid, asm.FnPerfEventOutput, asm.FnGetStackid, asm.FnGetStack, asm.FnGetTaskStack,
	}
	helpers510 = map[ebpf.ProgramType][]asm.BuiltinFunc{
		ebpf.CGroupSockAddr: {
			asm.FnGetCurrentUidGid, asm.FnBind, asm.FnGetSocketCookie, asm.FnGetNetnsCookie, asm.FnGetCurrentPidTgid, asm.FnGetCurrentComm,
			asm.FnGetCurrentCgroupId, asm.FnGetCurrentAncestorCgroupId, asm.FnPerfEventOutput, asm.FnGetLocalStorage,
			asm.FnSkLookupTcp, asm.FnSkLookupUdp, asm.FnSkcLookupTcp, asm.FnSkRelease, asm.FnSkStorageGet, asm.FnSkStorageDelete,
			asm.FnSetsockopt, asm.FnGetsockopt,
		},
		ebpf.CGroupSKB: {
			asm.FnGetLocalStorage, asm.FnSkFullsock, asm.FnSkStorageGet, asm.FnSkStorageDelete, asm.FnPerfEventOutput, asm.FnSkbCgroupId,
			asm.FnSkbAncestorCgroupId, asm.FnSkCgroupId, asm.FnSkAncestorCgroupId, asm.FnSkLookupTcp, asm.FnSkLookupUdp, asm.FnSkcLookupTcp,
			asm.FnSkRelease, asm.FnTcpSock, asm.FnGetListenerSock, asm.FnSkbEcnSetCe, asm.FnSkbLoadBytes, asm.FnSkbLoadBytesRelative,
			asm.FnGetSocketCookie, asm.FnGetSocketUid,
		},
		ebpf.Kprobe:        tracing510,
		ebpf.RawTracepoint: tracing510,
		ebpf.Tracing: append([]asm.BuiltinFunc{
			asm.FnSkbOutput, asm.FnXdpOutput, asm.FnSeqPrintf, asm.FnSeqWrite, asm.FnSeqPrintfBtf, asm.FnDPath,
			asm.FnSkcToTcp6Sock, asm.FnSkcToTcpSock, asm.FnSkcToTcpTimewaitSock, asm.FnSkcToTcpRequestSock, asm.FnSkcToUdp6Sock,
		}, tracing510...),
	}
	maps510 = []ebpf.MapType{
		ebpf.Hash, ebpf.Array, ebpf.ProgramArray, ebpf.PerfEventArray, ebpf.PerCPUHash, ebpf.PerCPUArray, ebpf.StackTrace, ebpf.CGroupArray,
		ebpf.LRUHash, ebpf.LRUCPUHash, ebpf.LPMTrie, ebpf.ArrayOfMaps, ebpf.HashOfMaps, ebpf.SkStorage, ebpf.RingBuf, ebpf.Queue, ebpf.Stack,
	}
	hooks510 = map[ebpf.ProgramType][]ebpf.AttachType{
		ebpf.CGroupSockAddr: {
			ebpf.AttachCGroupInet4Connect, ebpf.AttachCGroupInet6Connect, ebpf.AttachCGroupUDP4Sendmsg, ebpf.AttachCGroupUDP6Sendmsg,
			ebpf.AttachCGroupUDP4Recvmsg, ebpf.AttachCGroupUDP6Recvmsg, ebpf.AttachCgroupInet4GetPeername, ebpf.AttachCgroupInet6GetPeername,
		},
		ebpf.CGroupSKB:     {ebpf.AttachCGroupInetEgress, ebpf.AttachCGroupInetIngress},
		ebpf.Kprobe:        {ebpf.AttachNone},
		ebpf.RawTracepoint: {ebpf.AttachNone},
		ebpf.Tracing:       {ebpf.AttachTraceIter},
	}
)

// newer is what the objects use beyond that, since when there is such a thing, and what the loader does without. docs/ebpf.md has it in words.
var newer = []struct{ object, use, since, without string }{
	{"earlier", "helper FnSockFromFile in Tracing", "5.11", "Socket.findByFiles: /proc and pidfd_getfd"},
	{"earlier", "helper FnSkStorageGet in Tracing", "5.11", "the same"},
	{"earlier", "helper FnGetSocketCookie in Tracing", "5.12", "the same"},
}

func TestObjectsUseNothingNewerThan510ButWhatIsListed(t *testing.T) {
	paths, err := filepath.Glob("*.o")
	if err != nil || len(paths) < 3 {
		t.Fatalf("objects %v: %v", paths, err)
	}
	listed := map[string]bool{}
	for _, n := range newer {
		if n.without == "" || n.since == "" {
			t.Errorf("%s: %s: name the kernel that has it and what is done without", n.object, n.use)
		}
		listed[n.object+": "+n.use] = true
	}
	for _, path := range paths {
		spec, err := ebpf.LoadCollectionSpec(path)
		if err != nil {
			t.Fatal(err)
		}
		object, _, _ := strings.Cut(filepath.Base(path), "_")
		if len(spec.Programs) == 0 {
			t.Errorf("%s has no programs", path)
		}
		for use := range beyond510(spec) {
			if !listed[object+": "+use] {
				t.Errorf("%s uses %s, which Linux 5.10 does not have: do without, or make a fallback and name it in the table newer", path, use)
			}
			delete(listed, object+": "+use)
		}
	}
	for use := range listed {
		t.Errorf("the table newer has %q, which is not used", use)
	}
}

// beyond510 is the set of what an object uses that Linux 5.10 does not have.
func beyond510(spec *ebpf.CollectionSpec) map[string]bool {
	beyond := map[string]bool{}
	need := func(ok bool, format string, args ...any) {
		if !ok {
			beyond[fmt.Sprintf(format, args...)] = true
		}
	}
	for _, m := range spec.Maps {
		need(slices.Contains(maps510, m.Type), "map type %v", m.Type)
		if m.InnerMap != nil {
			need(slices.Contains(maps510, m.InnerMap.Type), "map type %v", m.InnerMap.Type)
		}
	}
	for _, p := range spec.Programs {
		hooks, ok := hooks510[p.Type]
		need(ok, "program type %v", p.Type)
		need(!ok || slices.Contains(hooks, p.AttachType), "attach type %v of %v", p.AttachType, p.Type)
		for i := range p.Instructions {
			for _, use := range instruction510(&p.Instructions[i], p.Type) {
				beyond[use] = true
			}
		}
	}
	return beyond
}

// instruction510 tells what of an instruction, in a program of a type, 5.10 does not have.
func instruction510(ins *asm.Instruction, in ebpf.ProgramType) (beyond []string) {
	op := ins.OpCode
	switch {
	case ins.IsBuiltinCall():
		if f := asm.BuiltinFunc(ins.Constant); !slices.Contains(everywhere510, f) && !slices.Contains(helpers510[in], f) {
			beyond = append(beyond, fmt.Sprintf("helper %v in %v", f, in))
		}
	case ins.IsKfuncCall():
		beyond = append(beyond, "kfunc "+ins.Reference())
	case ins.IsLoadOfFunctionPointer(): // bpf_loop, bpf_for_each_map_elem, bpf_timer: 5.13 and later
		beyond = append(beyond, "function pointer "+ins.Reference())
	case op.Class() == asm.StXClass && op.Mode() == asm.AtomicMode && op.AtomicOp() != asm.AddAtomic: // 5.12
		beyond = append(beyond, fmt.Sprintf("atomic %v", op.AtomicOp()))
	case op.Class() == asm.LdXClass && op.Mode() == asm.MemSXMode: // 6.6, as what follows
		beyond = append(beyond, "sign-extending load")
	case op.Class() == asm.Jump32Class && op.JumpOp() == asm.Ja:
		beyond = append(beyond, "long jump")
	case op.Class().IsALU() && (op.ALUOp() == asm.SDiv || op.ALUOp() == asm.SMod || op.ALUOp() == asm.MovSX8 || op.ALUOp() == asm.MovSX16 || op.ALUOp() == asm.MovSX32):
		beyond = append(beyond, fmt.Sprintf("instruction %v", op.ALUOp()))
	case op.Class() == asm.ALU64Class && op.ALUOp() == asm.Swap:
		beyond = append(beyond, "unconditional byte swap")
	}
	if f := btf.FuncMetadata(ins); f != nil && f.Linkage == btf.GlobalFunc {
		for i, param := range f.Type.(*btf.FuncProto).Params {
			if _, pointer := btf.UnderlyingType(param.Type).(*btf.Pointer); pointer && i > 0 {
				beyond = append(beyond, fmt.Sprintf("global function %s with a pointer that is not the context", f.Name)) // 5.12
			}
		}
	}
	return beyond
}

// TestWhatIsNewerIsNoticed holds the check above to finding things: a list that knows everything would pass any object.
func TestWhatIsNewerIsNoticed(t *testing.T) {
	for want, spec := range map[string]*ebpf.CollectionSpec{
		"map type TaskStorage":                    {Maps: map[string]*ebpf.MapSpec{"m": {Type: ebpf.TaskStorage}}},
		"map type BloomFilter":                    {Maps: map[string]*ebpf.MapSpec{"m": {Type: ebpf.ArrayOfMaps, InnerMap: &ebpf.MapSpec{Type: ebpf.BloomFilter}}}},
		"program type Netfilter":                  {Programs: map[string]*ebpf.ProgramSpec{"p": {Type: ebpf.Netfilter}}},
		"attach type TraceKprobeMulti of Kprobe":  {Programs: map[string]*ebpf.ProgramSpec{"p": {Type: ebpf.Kprobe, AttachType: ebpf.AttachTraceKprobeMulti}}},
		"helper FnGetCurrentPidTgid in CGroupSKB": inSKB(asm.FnGetCurrentPidTgid.Call()), // 6.10
		"helper FnLoop in CGroupSKB":              inSKB(asm.FnLoop.Call()),
		"atomic FetchAdd":                         inSKB(asm.FetchAdd.Mem(asm.R1, asm.R2, asm.DWord, 0)),
		"atomic CmpXchg":                          inSKB(asm.CmpXchg.Mem(asm.R1, asm.R2, asm.DWord, 0)),
		"sign-extending load":                     inSKB(asm.LoadMemSX(asm.R0, asm.R1, 0, asm.Word)),
		"long jump":                               inSKB(asm.LongJump("x")),
		"instruction SDiv":                        inSKB(asm.SDiv.Imm(asm.R0, 3)),
		"unconditional byte swap":                 inSKB(asm.BSwap(asm.R0, asm.Word)),
	} {
		if got := beyond510(spec); !got[want] || len(got) != 1 {
			t.Errorf("%v, want %q", slices.Collect(maps.Keys(got)), want)
		}
	}
	if got := beyond510(inSKB(asm.FnSkStorageGet.Call(), asm.AddAtomic.Mem(asm.R1, asm.R2, asm.DWord, 0), asm.Mov.Imm(asm.R0, 1), asm.Div.Imm(asm.R0, 3))); len(got) > 0 {
		t.Errorf("5.10 has %v", got)
	}
}

func inSKB(ins ...asm.Instruction) *ebpf.CollectionSpec {
	return &ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{"p": {Type: ebpf.CGroupSKB, AttachType: ebpf.AttachCGroupInetEgress, Instructions: ins}}}
}

// confidential reports whether the kernel is locked down so far that programs may not read its memory.
func confidential() bool {
	mode, err := os.ReadFile("/sys/kernel/security/lockdown")
	return err == nil && strings.Contains(string(mode), "[confidentiality]")
}

// TestListsAreThoseOfTheKernel asks a kernel of 5.10 itself; scripts/test-kernels boots one.
func TestListsAreThoseOfTheKernel(t *testing.T) {
	if v, err := features.LinuxVersionCode(); err != nil || v>>8 != 5<<8|10 {
		testenv.Beyond(t, "kernels other than 5.10: they do not know what it had")
	}
	if confidential() {
		testenv.Beyond(t, "a kernel locked down for confidentiality: it withholds helpers")
	}
	for _, typ := range []ebpf.ProgramType{ebpf.CGroupSockAddr, ebpf.CGroupSKB, ebpf.Kprobe} {
		for _, f := range slices.Concat(everywhere510, helpers510[typ]) {
			if err := features.HaveProgramHelper(typ, f); errors.Is(err, ebpf.ErrNotSupported) {
				t.Errorf("%v in %v: %v", f, typ, err)
			}
		}
	}
	for _, m := range maps510 {
		if err := features.HaveMapType(m); errors.Is(err, ebpf.ErrNotSupported) {
			t.Errorf("%v: %v", m, err)
		}
	}
}
