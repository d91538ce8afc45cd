package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// prices is testdata/prices.json.
type prices struct {
	Region string

	// Date of the newest price; Hours are those of a month.
	Date  string
	Hours float64

	// Prices in USD by their names. Seen is when somebody last read it in AWS's price
	// list, and empty when it is only repeated by many. UsageType finds it there.
	Prices map[string]struct {
		USD                   float64
		Unit, UsageType, Page string
		Seen                  string
	}

	// Types are all of both templates: each has a fixed price, one by use, or the page
	// that says that it is free.
	Types map[string]struct {
		Fixed     bool
		Use       []string
		Free, Why string
	}
}

func readPrices(t *testing.T) prices {
	t.Helper()
	var list prices
	require.NoError(t, json.Unmarshal([]byte(read(t, "test/testdata/prices.json")), &list))
	return list
}

// item is something that costs the same each month.
type item struct {
	price, what string
	quantity    float64
}

// itemsOf returns what a resource costs for being there. An endpoint and the load
// balancer are paid for in each zone of theirs.
func itemsOf(t *testing.T, id string, r resource) []item {
	number := func(v any) float64 {
		n, is := v.(float64)
		require.True(t, is, "%s: got %v, want a number", id, v)
		return n
	}
	switch r.Type {
	case "AWS::EC2::Instance":
		found := []item{{fmt.Sprint("instance ", r.Properties["InstanceType"]), "Linux, on demand", 1}}
		for i := range list(r.Properties["BlockDeviceMappings"]) {
			disk := at(r.Properties, "BlockDeviceMappings", i, "Ebs")
			found = append(found, item{fmt.Sprint(at(disk, "VolumeType"), " volume"), "system's volume", number(at(disk, "VolumeSize"))})
		}
		return found
	case "AWS::EC2::Volume":
		return []item{{fmt.Sprint(r.Properties["VolumeType"], " volume"), "GitLab's data", number(r.Properties["Size"])}}
	case "AWS::EC2::NatGateway":
		return []item{{"NAT gateway", "", 1}}
	case "AWS::EC2::EIP":
		return []item{{"public IPv4 address", "NAT gateway's", 1}}
	case "AWS::EC2::VPCEndpoint":
		if r.Properties["VpcEndpointType"] == "Gateway" {
			return nil // https://docs.aws.amazon.com/vpc/latest/privatelink/gateway-endpoints.html
		}
		return []item{{"interface endpoint in a zone", "Systems Manager's", float64(len(list(r.Properties["SubnetIds"])))}}
	case "AWS::ElasticLoadBalancingV2::LoadBalancer":
		return []item{{"application load balancer", "", 1},
			{"public IPv4 address", "load balancer's, one a zone", float64(len(list(r.Properties["Subnets"])))}}
	case "AWS::CloudWatch::Alarm":
		watched := 1
		if queries := list(r.Properties["Metrics"]); queries != nil {
			watched = 0
			for i := range queries {
				if at(r.Properties, "Metrics", i, "MetricStat") != nil {
					watched++
				}
			}
		}
		return []item{{"alarm", "metrics that alarms watch", float64(watched)}}
	case "AWS::KMS::Key":
		return []item{{"customer managed key", "a rotated one costs as much again, twice at most", 1}}
	case "AWS::SecretsManager::Secret":
		return []item{{"secret", "", 1}}
	}
	t.Errorf("%s: the fixed price of a %s is not computed", id, r.Type)
	return nil
}

// customMetrics returns how many metrics that AWS does not make itself are watched.
func customMetrics(templates ...template) float64 {
	seen := map[string]bool{}
	for _, tpl := range templates {
		for _, r := range tpl.Resources {
			if r.Type != "AWS::CloudWatch::Alarm" {
				continue
			}
			metrics := []any{r.Properties}
			for i := range list(r.Properties["Metrics"]) {
				metrics = append(metrics, at(r.Properties, "Metrics", i, "MetricStat", "Metric"))
			}
			for _, metric := range metrics {
				namespace, _ := at(metric, "Namespace").(string)
				if namespace != "" && !strings.HasPrefix(namespace, "AWS/") {
					dimensions, _ := json.Marshal(at(metric, "Dimensions"))
					seen[fmt.Sprint(namespace, at(metric, "MetricName"), string(dimensions))] = true
				}
			}
		}
	}
	return float64(len(seen))
}

const costsHeader = `# What it costs

Computed from both templates of the example, [config/staging.yaml](../config/staging.yaml), and the prices in
[prices.json](../test/testdata/prices.json): ` + "`go test ./test -run Golden -update`" + ` writes this page anew. A type of resource that has neither
a price nor the page that says it is free fails the test.

Prices are those of %s on %s, in USD, without tax, on demand and without free tiers; a month has %.0f hours. They are
what others have read in AWS's price list on the day in the last column, under the usage type that stands there. AWS's own pages could not be
opened where this was written: look at them before you decide. A row without a day is a figure that many repeat, without a source.

Not here: the instances that CodeDeploy deploys to, and what the [sample](operations.md) of a target starts. They are yours.

## Each month, used or not

| what | | quantity | USD a unit | USD a month | usage type, page | read on |
|---|---|---|---|---|---|---|
`

// TestGolden_theDocsSayWhatItCosts compares docs/costs.md with the templates.
func TestGolden_theDocsSayWhatItCosts(t *testing.T) {
	gitlab, deploy := synthesiseStaging(t)
	list := readPrices(t)
	require.Equal(t, staging(t).Region, list.Region, "the prices are another Region's")

	type row struct {
		item
		resources int
	}
	rows, counts := map[[2]string]*row{}, map[string]int{}
	add := func(i item) {
		key := [2]string{i.price, i.what}
		if rows[key] == nil {
			rows[key] = &row{item: item{i.price, i.what, 0}}
		}
		rows[key].quantity += i.quantity
		rows[key].resources++
	}
	for _, tpl := range []template{gitlab, deploy} {
		for id, r := range tpl.Resources {
			kind, known := list.Types[r.Type]
			require.True(t, known, "%s: test/testdata/prices.json has neither a price of %s nor the page that says it is free", id, r.Type)
			require.True(t, kind.Fixed || len(kind.Use) > 0 || strings.HasPrefix(kind.Free, "https://aws.amazon.com/"), "%s: got neither fixed, use nor a page of AWS's", r.Type)
			counts[r.Type]++
			if kind.Fixed {
				for _, i := range itemsOf(t, id, r) {
					add(i)
				}
			}
		}
	}
	add(item{"custom metric", "metrics that alarms watch, and AWS does not make itself", customMetrics(gitlab, deploy)})

	var page strings.Builder
	fmt.Fprintf(&page, costsHeader, list.Region, list.Date, list.Hours)
	sum, used := 0.0, map[string]bool{}
	for _, key := range slices.SortedFunc(maps.Keys(rows), func(a, b [2]string) int { return strings.Compare(a[0]+a[1], b[0]+b[1]) }) {
		r := rows[key]
		price, known := list.Prices[r.price]
		require.True(t, known, "test/testdata/prices.json has no price of %q", r.price)
		used[r.price] = true
		month := r.quantity * price.USD
		unit := price.Unit
		if unit == "hour" {
			month *= list.Hours
		}
		sum += math.Round(month*100) / 100
		fmt.Fprintf(&page, "| %s | %s | %g | %g / %s | %.2f | `%s`, [page](%s) | %s |\n", r.price, r.what, r.quantity, price.USD, unit, month, price.UsageType, price.Page, price.Seen)
	}
	fmt.Fprintf(&page, "| **together** | | | | **%.2f** | | |\n", sum)

	page.WriteString("\n## By use\n\n| type | resources | what | USD | usage type, page | read on |\n|---|---|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		for _, use := range list.Types[name].Use {
			price, known := list.Prices[use]
			require.True(t, known, "test/testdata/prices.json has no price of %q", use)
			used[use] = true
			fmt.Fprintf(&page, "| %s | %d | %s | %g / %s | `%s`, [page](%s) | %s |\n", name, counts[name], use, price.USD, price.Unit, price.UsageType, price.Page, price.Seen)
		}
	}
	page.WriteString("\n## Free\n\n| type | resources | page |\n|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if kind := list.Types[name]; kind.Free != "" {
			why := ""
			if kind.Why != "" {
				why = ": " + kind.Why
			}
			fmt.Fprintf(&page, "| %s | %d | [page](%s)%s |\n", name, counts[name], kind.Free, why)
		}
	}
	for name := range list.Types {
		assert.NotZero(t, counts[name], "test/testdata/prices.json: no template has a %s any more", name)
	}
	for name := range list.Prices {
		assert.True(t, used[name], "test/testdata/prices.json: nothing costs %q any more", name)
	}
	compareGolden(t, "../docs/costs.md", page.String())

	about := fmt.Sprintf("about %.0f USD", math.Round(sum/10)*10)
	assert.True(t, strings.Contains(read(t, "README.md"), about), "README.md: want %q", about)
}
