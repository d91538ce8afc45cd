package network

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Differences says, a line each, how the network differs from what it should
// let through, and for what is missing also why. Nothing means that it lets
// through exactly that.
func (n *Network) Differences(want []Flow) []string {
	got := n.Flows()
	var lines []string
	for _, flow := range want {
		if !slices.Contains(got, flow) {
			lines = append(lines, "missing: "+flow.String())
			for _, reason := range unique(n.Blocked(flow.From, flow.To)) {
				lines = append(lines, "         because "+reason)
			}
		}
	}
	for _, flow := range got {
		if !slices.Contains(want, flow) {
			lines = append(lines, "not wanted: "+flow.String())
		}
	}
	return append(lines, n.undelivered(got)...)
}

// undelivered names the targets that a load balancer sends requests to in
// vain. Users see a 504, and no linter sees anything.
func (n *Network) undelivered(got []Flow) []string {
	var lines []string
	for _, balancer := range n.parties {
		if balancer.kind != kindBalancer {
			continue
		}
		if len(balancer.targets) == 0 {
			lines = append(lines, fmt.Sprintf("%s has no targets", balancer.name))
		}
		for _, target := range balancer.targets {
			reached := slices.ContainsFunc(got, func(f Flow) bool {
				return f.From == balancer.name && f.To == target.party && f.Traffic == target.ports.String()
			})
			if !reached {
				lines = append(lines, fmt.Sprintf("%s sends requests to %s on %s, and not exactly that gets through", balancer.name, target.party, target.ports))
			}
		}
	}
	return lines
}

// Matrix is the table of flows in Markdown: who opens connections down the
// side, to whom along the top.
func Matrix(flows []Flow) string {
	cells := map[[2]string][]string{}
	sources, destinations := map[string]bool{}, map[string]bool{}
	for _, f := range flows {
		cells[[2]string{f.From, f.To}] = append(cells[[2]string{f.From, f.To}], f.Traffic)
		sources[f.From], destinations[f.To] = true, true
	}
	to := inOrder(destinations)
	var out strings.Builder
	fmt.Fprintf(&out, "| from \\ to | %s |\n|---|%s\n", strings.Join(to, " | "), strings.Repeat("---|", len(to)))
	for _, source := range inOrder(sources) {
		fmt.Fprintf(&out, "| %s |", source)
		for _, destination := range to {
			cell := strings.Join(unique(cells[[2]string{source, destination}]), "; ")
			fmt.Fprintf(&out, " %s |", cmp.Or(cell, "—"))
		}
		out.WriteString("\n")
	}
	return out.String()
}

// Ways is the list of flows in Markdown, with what each goes through.
func Ways(flows []Flow) string {
	var out strings.Builder
	out.WriteString("| from | to | gets through | by |\n|---|---|---|---|\n")
	for _, f := range flows {
		fmt.Fprintf(&out, "| %s | %s | %s | %s |\n", f.From, f.To, f.Traffic, f.Way)
	}
	return out.String()
}

// inOrder puts the internet first and strangers last.
func inOrder(names map[string]bool) []string {
	rank := func(name string) int {
		switch {
		case strings.HasPrefix(name, Internet):
			return 0
		case strings.HasPrefix(name, "another host"):
			return 2
		}
		return 1
	}
	return slices.SortedFunc(maps.Keys(names), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	})
}

func unique(texts []string) []string {
	sorted := slices.Clone(texts)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}
