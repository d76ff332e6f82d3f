package leak

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
)

// linkPrefix begins the name of every interface that berth makes on the host.
const linkPrefix = "bth"

// network lists interfaces, their addresses, and routes in every table.
func network(s Scope) ([]string, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	var out []string
	names := map[int]string{}
	for _, link := range links {
		attrs := link.Attrs()
		names[attrs.Index] = attrs.Name
		if !s.All && !strings.HasPrefix(attrs.Name, linkPrefix) {
			continue
		}
		out = append(out, fmt.Sprintf("interface %s (%s)", attrs.Name, link.Type()))
		addresses, err := netlink.AddrList(link, netlink.FAMILY_ALL)
		if err != nil {
			continue // the link went meanwhile
		}
		for _, address := range addresses {
			out = append(out, fmt.Sprintf("address %s on %s", address.IPNet, attrs.Name))
		}
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: 0}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, err
	}
	for _, route := range routes {
		if name := names[route.LinkIndex]; s.All || strings.HasPrefix(name, linkPrefix) {
			out = append(out, fmt.Sprintf("route %s via %s on %s table %d", route.Dst, route.Gw, name, route.Table))
		}
	}
	return out, nil
}

// ruleset lists tables, chains, sets with their elements, and rules. Counters
// are left out.
func ruleset(s Scope) ([]string, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, err
	}
	tables, err := conn.ListTables()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, table := range tables {
		title := fmt.Sprintf("table %d %s", table.Family, table.Name)
		ours := s.All || strings.Contains(table.Name, "berth")
		if ours {
			out = append(out, title)
			out = append(out, sets(conn, table, title)...)
		}
		out = append(out, chains(conn, table, title, ours)...)
	}
	return out, nil
}

func sets(conn *nftables.Conn, table *nftables.Table, title string) []string {
	var out []string
	found, _ := conn.GetSets(table)
	for _, set := range found {
		out = append(out, title+" set "+set.Name)
		elements, _ := conn.GetSetElements(set)
		for _, element := range elements {
			out = append(out, fmt.Sprintf("%s set %s element %x", title, set.Name, element.Key))
		}
	}
	return out
}

// chains lists a table's chains and rules; of a table that is not berth's only
// those rules that name one of berth's interfaces.
func chains(conn *nftables.Conn, table *nftables.Table, title string, ours bool) []string {
	var out []string
	all, _ := conn.ListChainsOfTableFamily(table.Family)
	for _, chain := range all {
		if chain.Table.Name != table.Name {
			continue
		}
		name := title + " chain " + chain.Name
		if ours {
			out = append(out, name+policy(chain))
		}
		rules, _ := conn.GetRules(table, chain)
		seen := map[string]int{}
		for _, rule := range rules {
			text := ruleText(rule)
			if ours || strings.Contains(text, linkPrefix) || strings.Contains(string(rule.UserData), "berth") {
				seen[text]++ // the same rule twice is two things
				out = append(out, fmt.Sprintf("%s rule %s (#%d)", name, text, seen[text]))
			}
		}
	}
	return out
}

func policy(chain *nftables.Chain) string {
	if chain.Policy == nil {
		return ""
	}
	return fmt.Sprintf(" policy %d", *chain.Policy)
}

func ruleText(rule *nftables.Rule) string {
	var parts []string
	for _, e := range rule.Exprs {
		switch e := e.(type) {
		case *expr.Counter:
			parts = append(parts, "counter")
		case *expr.Cmp:
			parts = append(parts, fmt.Sprintf("cmp %d %q", e.Op, strings.TrimRight(string(e.Data), "\x00")))
		case *expr.Lookup:
			parts = append(parts, "lookup "+e.SetName)
		default: // JSON follows pointers, which differ from one look to the next
			text, _ := json.Marshal(e)
			parts = append(parts, strings.TrimPrefix(fmt.Sprintf("%T", e), "*expr.")+string(text))
		}
	}
	return strings.Join(parts, " ")
}
