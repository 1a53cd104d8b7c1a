package pcapfile

import "testing"

func TestLinkTypesHaveTcpdumpsNames(t *testing.T) {
	for link, want := range map[LinkType]string{
		LinkEthernet: "EN10MB", LinkRaw: "RAW", LinkLinuxSLL: "LINUX_SLL", LinkLinuxSLL2: "LINUX_SLL2", LinkNull: "NULL", LinkLoop: "LOOP",
		LinkIPv4: "IPV4", LinkPPPHDLC: "PPP_SERIAL", 147: "USER0", 162: "USER15", 163: "IEEE802_11_RADIO_AVS", 9999: "LINKTYPE_9999",
	} {
		if got := link.String(); got != want {
			t.Errorf("%d is %s, want %s", uint32(link), got, want)
		}
	}
}
