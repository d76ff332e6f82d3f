package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/berth-dev/berth/internal/network"
)

// Drop is a firewall of the host that lets no forwarded packet through which it has no rule
// for, and has none for engines.
type Drop struct {
	Table  string // as nft(8) names it, "ip filter"; or "iptables-legacy filter"
	Chain  string
	Remedy string // the command that makes an exception for engines
	// Handled says that berth itself makes the exception when an engine starts.
	Handled bool
}

// Where names the place for a message.
func (d Drop) Where() string { return fmt.Sprintf("table %s, chain %s", d.Table, d.Chain) }

// dockerUser is the chain for the exceptions of the host's owner that a Docker makes.
const dockerUser = "DOCKER-USER"

// engines is how iptables writes the names of all engines' interfaces.
const engines = network.LinkPrefix + "+"

// Firewall reports the firewalls on the host that drop engines' traffic by default: those
// of nftables, iptables-nft among them, and of the older iptables-legacy.
func Firewall(ctx context.Context) ([]Drop, error) {
	drops, err := netfilter()
	if err != nil {
		return nil, fmt.Errorf("read the host's firewall: %w", err)
	}
	legacy, err := legacyIPTables(ctx)
	return append(drops, legacy...), err
}

func netfilter() ([]Drop, error) {
	c, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, err
	}
	defer c.CloseLasting()
	var drops []Drop
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyINet} {
		chains, err := c.ListChainsOfTableFamily(family)
		if err != nil {
			return nil, err
		}
		docker := slices.ContainsFunc(chains, func(ch *nftables.Chain) bool {
			return ch.Table.Family == nftables.TableFamilyIPv4 && ch.Table.Name == "filter" && ch.Name == dockerUser
		})
		for _, chain := range chains {
			if chain.Hooknum == nil || *chain.Hooknum != *nftables.ChainHookForward || chain.Type != nftables.ChainTypeFilter {
				continue
			}
			rules, err := c.GetRules(chain.Table, chain)
			if err != nil {
				return nil, err
			}
			if dropsByDefault(chain, rules) && !slices.ContainsFunc(rules, namesEngines) {
				drops = append(drops, describe(chain, docker))
			}
		}
	}
	return drops, nil
}

// dropsByDefault says whether a packet that no rule is about is dropped: by the policy, or
// by a last rule without conditions.
func dropsByDefault(chain *nftables.Chain, rules []*nftables.Rule) bool {
	if chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop {
		return true
	}
	if len(rules) == 0 {
		return false
	}
	drops := false
	for _, e := range rules[len(rules)-1].Exprs {
		switch e := e.(type) {
		case *expr.Counter, *expr.Log:
		case *expr.Reject:
			drops = true
		case *expr.Verdict:
			drops = e.Kind == expr.VerdictDrop
		default:
			return false
		}
	}
	return drops
}

// namesEngines says whether a rule looks for the names of engines' interfaces.
func namesEngines(rule *nftables.Rule) bool {
	return slices.ContainsFunc(rule.Exprs, func(e expr.Any) bool {
		cmp, ok := e.(*expr.Cmp)
		return ok && bytes.HasPrefix(cmp.Data, []byte(network.LinkPrefix))
	})
}

func describe(chain *nftables.Chain, docker bool) Drop {
	family := "ip"
	if chain.Table.Family == nftables.TableFamilyINet {
		family = "inet"
	}
	d := Drop{Table: family + " " + chain.Table.Name, Chain: chain.Name}
	switch {
	case family == "ip" && chain.Table.Name == "filter" && chain.Name == "FORWARD":
		d.Handled = docker
		d.Remedy = allow("iptables", "FORWARD")
	case chain.Table.Name == "firewalld":
		d.Remedy = "firewall-cmd --zone=trusted --add-source=" + network.Pool.String()
	default:
		rule := fmt.Sprintf("nft insert rule %s %s", d.Table, d.Chain)
		d.Remedy = fmt.Sprintf("%s iifname '\"%s*\"' accept && %s oifname '\"%s*\"' accept", rule, network.LinkPrefix, rule, network.LinkPrefix)
	}
	return d
}

func allow(program, chain string) string {
	return fmt.Sprintf("%s -I %s -i %s -j ACCEPT && %s -I %s -o %s -j ACCEPT", program, chain, engines, program, chain, engines)
}

// legacyNames lists the tables of the older iptables that are loaded, one a line.
const legacyNames = "/proc/net/ip_tables_names"

// legacyIPTables reads the older iptables where it is in use: asking it otherwise would
// load it.
func legacyIPTables(ctx context.Context) ([]Drop, error) {
	names, err := os.ReadFile(legacyNames)
	if errors.Is(err, os.ErrNotExist) || err == nil && !slices.Contains(strings.Fields(string(names)), "filter") {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	const program = "iptables-legacy"
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, errors.New("the older iptables is in use, and " + program + " is not there to read it")
	}
	out, err := exec.CommandContext(ctx, path, "-w", "-S").Output()
	if err != nil {
		return nil, fmt.Errorf("%s -S: %w", program, err)
	}
	return parseLegacy(string(out)), nil
}

// parseLegacy reads what iptables-legacy -S prints.
func parseLegacy(rules string) []Drop {
	if !strings.Contains(rules, "-P FORWARD DROP\n") || strings.Contains(rules, engines) {
		return nil
	}
	d := Drop{Table: "iptables-legacy filter", Chain: "FORWARD"}
	chain := d.Chain
	if strings.Contains(rules, "-N "+dockerUser+"\n") {
		chain = dockerUser
	}
	d.Remedy = allow("iptables-legacy", chain)
	return []Drop{d}
}
