package veth

import (
	"bytes"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
)

// A Docker on the host sets the FORWARD policy to drop, and has a chain for exceptions of
// the host's owner: DOCKER-USER. Engines get theirs there, in the words of iptables
// (iptables-nft), which must be able to list them:
//
//	-A DOCKER-USER -i bth+ -m comment --comment berth -j ACCEPT
//	-A DOCKER-USER -o bth+ -m comment --comment berth -j ACCEPT
//
// The second one opens nothing, since berth's own table lets only replies through to an
// engine. No other foreign table is ever touched.
const dockerComment = "berth"

var (
	dockerTable = &nftables.Table{Name: "filter", Family: nftables.TableFamilyIPv4}
	dockerChain = &nftables.Chain{Name: "DOCKER-USER", Table: dockerTable}
)

// openDockerUser adds the rules where the chain exists and has not got them.
func openDockerUser(c *nftables.Conn) error {
	rules, ok := dockerUserRules(c)
	if !ok {
		return nil
	}
	have := map[expr.MetaKey]bool{}
	for _, rule := range rules {
		if key, ours := dockerRuleKey(rule); ours {
			have[key] = true
		}
	}
	missing := false
	for _, key := range []expr.MetaKey{expr.MetaKeyOIFNAME, expr.MetaKeyIIFNAME} {
		if have[key] {
			continue
		}
		missing = true
		c.InsertRule(&nftables.Rule{
			Table: dockerTable, Chain: dockerChain,
			Exprs:    join(ifname(key, expr.CmpOpEq), []expr.Any{&expr.Counter{}}, verdict(expr.VerdictAccept)),
			UserData: userdata.AppendString(nil, userdata.TypeComment, dockerComment),
		})
	}
	if !missing {
		return nil
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("add rules for engines to DOCKER-USER: %w", err)
	}
	return nil
}

// closeDockerUser takes the rules away.
func closeDockerUser(c *nftables.Conn) error {
	rules, _ := dockerUserRules(c)
	found := false
	for _, rule := range rules {
		if _, ours := dockerRuleKey(rule); !ours {
			continue
		}
		found = true
		rule.Table, rule.Chain = dockerTable, dockerChain
		if err := c.DelRule(rule); err != nil {
			return err
		}
	}
	if !found {
		return nil
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("delete the rules for engines from DOCKER-USER: %w", err)
	}
	return nil
}

// dockerUserRules lists the chain; false means that there is none.
func dockerUserRules(c *nftables.Conn) ([]*nftables.Rule, bool) {
	if _, err := c.ListChain(dockerTable, dockerChain.Name); err != nil {
		return nil, false
	}
	rules, err := c.GetRules(dockerTable, dockerChain)
	return rules, err == nil
}

// dockerRuleKey says whether a rule is one of ours, and which.
func dockerRuleKey(rule *nftables.Rule) (expr.MetaKey, bool) {
	comment, _ := userdata.GetString(rule.UserData, userdata.TypeComment)
	if comment != dockerComment || len(rule.Exprs) < 2 {
		return 0, false
	}
	meta, isMeta := rule.Exprs[0].(*expr.Meta)
	cmp, isCmp := rule.Exprs[1].(*expr.Cmp)
	if !isMeta || !isCmp || !bytes.Equal(cmp.Data, ifname(meta.Key, expr.CmpOpEq)[1].(*expr.Cmp).Data) {
		return 0, false
	}
	return meta.Key, true
}
