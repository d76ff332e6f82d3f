package veth

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/berth-dev/berth/internal/network"
)

// ruleset is berth's table, as nft(8) shows it:
//
//	table inet berth {
//	  map engines { type ifname . ipv4_addr : verdict   # one element per engine
//	    elements = { "bth0123456789ab" . 198.18.0.1 : jump engine } }
//	  map uplinks { type ifname : verdict               # forwarding switched on by berth
//	    elements = { "eth0" comment "ip_forward=0" : jump uplink } }
//	  chain rules-1 {}                                  # says which version of the rules this is
//	  chain engine { accept }
//	  chain uplink { oifname "bth*" accept; ct state established,related accept
//	                 ct status dnat accept; drop }
//	  chain prerouting { type filter hook prerouting priority raw
//	    iifname "bth*" meta nfproto ipv4 iifname . ip saddr vmap @engines
//	    iifname "bth*" drop }
//	  chain forward { type filter hook forward priority filter - 10
//	    iifname "bth*" oifname "bth*" drop
//	    oifname "bth*" ct state != established,related drop
//	    iifname "bth*" tcp flags syn / syn,rst tcp option maxseg size set rt mtu
//	    oifname "bth*" (the same)
//	    iifname vmap @uplinks }
//	  chain postrouting { type nat hook postrouting priority srcnat
//	    iifname "bth*" oifname != "bth*" masquerade }
//	}
//
// prerouting lets an engine speak with its own address only, before the packet costs the
// host a connection-tracking entry. forward lets engines open connections and nobody
// else open one to them. uplink keeps the host from becoming a router: where berth had to
// switch forwarding on, only engines' traffic passes, and that of others (a Docker started
// later) which some NAT rule of theirs or a tracked connection accounts for.
//
// That the elements jump to a chain is what makes going away atomic: the kernel refuses to
// delete a chain that an element still refers to (EBUSY), so that "delete both chains and
// the table" succeeds only if no engine has come meanwhile and no setting to put back was
// added, even by a process that we share no lock with.
type ruleset struct {
	table                    *nftables.Table
	engines, uplinks         *nftables.Set
	engineChain, uplinkChain *nftables.Chain
	prerouting, forward      *nftables.Chain
	postrouting              *nftables.Chain
}

// Names in the table, also used by tests and by people.
const (
	tableName   = "berth"
	enginesMap  = "engines"
	uplinksMap  = "uplinks"
	engineChain = "engine"
	uplinkChain = "uplink"
	// Every change of the rules needs another name here: it makes the next engine replace
	// the rules of an older berth, under the feet of its engines.
	versionChain = "rules-1"
)

func newRuleset() *ruleset {
	r := &ruleset{table: &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}}
	r.engines = &nftables.Set{
		Table: r.table, Name: enginesMap, ID: 1, IsMap: true, Concatenation: true,
		KeyType:  nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeIPAddr),
		DataType: nftables.TypeVerdict,
	}
	r.uplinks = &nftables.Set{
		Table: r.table, Name: uplinksMap, ID: 2, IsMap: true,
		KeyType: nftables.TypeIFName, DataType: nftables.TypeVerdict,
	}
	r.engineChain = &nftables.Chain{Name: engineChain, Table: r.table}
	r.uplinkChain = &nftables.Chain{Name: uplinkChain, Table: r.table}
	r.prerouting = r.base("prerouting", nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw)
	r.forward = r.base("forward", nftables.ChainHookForward, *nftables.ChainPriorityFilter-10)
	r.postrouting = r.base("postrouting", nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource)
	r.postrouting.Type = nftables.ChainTypeNAT
	return r
}

func (r *ruleset) base(name string, hook *nftables.ChainHook, priority nftables.ChainPriority) *nftables.Chain {
	accept := nftables.ChainPolicyAccept
	return &nftables.Chain{
		Name: name, Table: r.table, Type: nftables.ChainTypeFilter,
		Hooknum: hook, Priority: nftables.ChainPriorityRef(priority), Policy: &accept,
	}
}

// current reports whether the table is there with these rules.
func (r *ruleset) current(c *nftables.Conn) bool {
	_, err := c.ListChain(r.table, versionChain)
	return err == nil
}

// define queues the whole table. It may be there already, in this or another version:
// maps keep their elements, rules are replaced. That is slow (the kernel waits for the old
// rules to be out of use), so it is not done without need.
func (r *ruleset) define(c *nftables.Conn) error {
	c.AddTable(r.table)
	c.AddChain(&nftables.Chain{Name: versionChain, Table: r.table})
	chains := []*nftables.Chain{r.engineChain, r.uplinkChain, r.prerouting, r.forward, r.postrouting}
	for _, chain := range chains {
		c.AddChain(chain)
		c.FlushChain(chain)
	}
	for _, set := range []*nftables.Set{r.engines, r.uplinks} {
		if err := c.AddSet(set, nil); err != nil {
			return err
		}
	}
	add := func(chain *nftables.Chain, parts ...[]expr.Any) {
		c.AddRule(&nftables.Rule{Table: r.table, Chain: chain, Exprs: join(parts...)})
	}
	in, out := ifname(expr.MetaKeyIIFNAME, expr.CmpOpEq), ifname(expr.MetaKeyOIFNAME, expr.CmpOpEq)
	notOut := ifname(expr.MetaKeyOIFNAME, expr.CmpOpNeq)

	add(r.engineChain, verdict(expr.VerdictAccept))

	add(r.uplinkChain, out, verdict(expr.VerdictAccept))
	add(r.uplinkChain, ctHas(expr.CtKeySTATE, stateTracked, expr.CmpOpNeq), verdict(expr.VerdictAccept))
	add(r.uplinkChain, ctHas(expr.CtKeySTATUS, statusDNAT, expr.CmpOpNeq), verdict(expr.VerdictAccept))
	add(r.uplinkChain, verdict(expr.VerdictDrop))

	add(r.prerouting, in, isIPv4(), lookupEngine(r.engines))
	add(r.prerouting, in, verdict(expr.VerdictDrop))

	add(r.forward, in, out, verdict(expr.VerdictDrop))
	add(r.forward, out, ctHas(expr.CtKeySTATE, stateTracked, expr.CmpOpEq), verdict(expr.VerdictDrop))
	add(r.forward, in, clampMSS())
	add(r.forward, out, clampMSS())
	add(r.forward, lookupUplink(r.uplinks))

	add(r.postrouting, in, notOut, []expr.Any{&expr.Masq{}})
	return nil
}

// remove queues the deletion of everything; the transaction fails with EBUSY when an
// engine or an uplink other than the given ones is still there.
func (r *ruleset) remove(c *nftables.Conn, uplinks []nftables.SetElement) error {
	if len(uplinks) > 0 {
		if err := c.SetDeleteElements(r.uplinks, bare(uplinks)); err != nil {
			return err
		}
	}
	c.DelChain(r.engineChain)
	c.DelChain(r.uplinkChain)
	c.DelTable(r.table)
	return nil
}

// engine is the element that stands for an engine.
func (r *ruleset) engine(rec network.Record) []nftables.SetElement {
	ip := rec.EngineIP.As4()
	return []nftables.SetElement{{
		Key:         append(ifnameKey(rec.Link), ip[:]...),
		VerdictData: &expr.Verdict{Kind: expr.VerdictJump, Chain: engineChain},
	}}
}

// uplink is the element for an interface whose forwarding berth switched on.
func (r *ruleset) uplink(name, comment string) nftables.SetElement {
	return nftables.SetElement{
		Key:         ifnameKey(name),
		VerdictData: &expr.Verdict{Kind: expr.VerdictJump, Chain: uplinkChain},
		Comment:     comment,
	}
}
