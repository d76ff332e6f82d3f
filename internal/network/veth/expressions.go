package veth

import (
	"bytes"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/berth-dev/berth/internal/network"
)

// Conntrack states of packets that belong to a connection which was let through before
// (nft(8), ct state), and the status of one whose destination was translated.
const (
	stateTracked = expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED
	statusDNAT   = 1 << 5 // IPS_DST_NAT, linux/netfilter/nf_conntrack_common.h
)

func join(parts ...[]expr.Any) []expr.Any { return slices.Concat(parts...) }

func verdict(kind expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: kind}} }

// ifnameKey is an interface's name as maps hold it.
func ifnameKey(name string) []byte {
	key := make([]byte, unix.IFNAMSIZ)
	copy(key, name)
	return key
}

func ifnameOf(key []byte) string {
	name, _, _ := bytes.Cut(key[:min(len(key), unix.IFNAMSIZ)], []byte{0})
	return string(name)
}

// ifname compares an interface's name with bth*: a comparison shorter than the name is
// one of prefixes.
func ifname(key expr.MetaKey, op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: op, Register: 1, Data: []byte(network.LinkPrefix)},
	}
}

func isIPv4() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
	}
}

// ctHas compares the given bits of a connection's state or status with none: CmpOpEq
// matches when none is set, CmpOpNeq when some are.
func ctHas(key expr.CtKey, bits uint32, op expr.CmpOp) []expr.Any {
	none := binaryutil.NativeEndian.PutUint32(0)
	return []expr.Any{
		&expr.Ct{Key: key, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: none},
		&expr.Cmp{Op: op, Register: 1, Data: none},
	}
}

// lookupEngine is "iifname . ip saddr vmap @engines". The parts of a key are in adjacent
// registers: a name fills the first of 16 bytes, the address begins the second.
func lookupEngine(engines *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: unix.NFT_REG_1},
		&expr.Payload{DestRegister: unix.NFT_REG_2, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
		&expr.Lookup{SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: engines.Name, SetID: engines.ID},
	}
}

func lookupUplink(uplinks *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: unix.NFT_REG_1},
		&expr.Lookup{SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: uplinks.Name, SetID: uplinks.ID},
	}
}

// clampMSS is "tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu": hosts
// behind a narrower uplink than the default one then need no path MTU discovery, which
// many firewalls break. Option kind 2 has its 16-bit value at offset 2 (RFC 9293, 3.2).
func clampMSS() []expr.Any {
	const syn, rst = 0x02, 0x04
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{syn | rst}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{syn}},
		&expr.Rt{Register: 1, Key: expr.RtTCPMSS},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 2, Size: 2},
		&expr.Exthdr{SourceRegister: 1, Type: 2, Offset: 2, Len: 2, Op: expr.ExthdrOpTcpopt},
	}
}
