package doctor

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"gitlab-codedeploy/internal/account"
	"gitlab-codedeploy/internal/reach"
)

// wayToHosts is Session Manager's: internal/reach. What this machine needs for it is among the programs.
func wayToHosts(ctx context.Context, l *look) []Finding {
	a := l.accounts[account.GitLab]
	vpc, missing := l.output(account.GitLab, "VpcId", `vpc-[0-9a-f]{8,17}`)
	if missing != nil {
		return missing
	}
	r := reach.Look{Agents: ssm.NewFromConfig(a.AWS), Network: ec2.NewFromConfig(a.AWS), Roles: iam.NewFromConfig(a.AWS), VPC: vpc, Find: l.Find}
	for name, of := range map[string]func() (string, error){"server": a.Server, "runner": a.Runner} {
		id, err := of()
		if err != nil {
			return []Finding{wrong("scripts/ops deploy --env "+l.config.Environment, "%s", err)}
		}
		r.Hosts = append(r.Hosts, reach.Host{Name: name, Instance: id})
	}
	if r.Hosts[0].Name == "runner" {
		r.Hosts[0], r.Hosts[1] = r.Hosts[1], r.Hosts[0]
	}
	var found []Finding
	for _, f := range r.Run(ctx) {
		if f.Where == here {
			continue
		}
		made := Finding{Check: f.Where + ", " + f.What, State: map[reach.State]State{reach.OK: OK, reach.Wrong: Wrong, reach.Unknown: Unchecked}[f.State], Found: f.Found}
		if made.State == Wrong {
			made.Remedy = "scripts/ops check --env " + l.config.Environment + " says what to do first"
		}
		found = append(found, made)
	}
	return found
}
