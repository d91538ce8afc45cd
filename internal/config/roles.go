package config

import (
	"fmt"
	"strings"
)

// maxBreakGlassRoles keeps each key's policy under the 32 KB that KMS takes, and the bucket's under S3's 20 KB, both of
// which name them several times.
// https://docs.aws.amazon.com/kms/latest/developerguide/resource-limits.html
const maxBreakGlassRoles = 10

// roleARNs are the roles of an account by their ARNs.
func roleARNs(region, account string, roles []string) []string {
	var arns []string
	for _, role := range roles {
		arns = append(arns, roleARN(region, account, role))
	}
	return arns
}

func roleARN(region, account, role string) string {
	if strings.HasPrefix(role, "arn:") {
		return role
	}
	return fmt.Sprintf("arn:%s:iam::%s:role/%s", partitionOf(region), account, role)
}

// validateRoles checks a list of roles of the account at a key; why says what more of them than most would break.
func (d *document) validateRoles(list *[]string, account *string, key string, most int, why string) {
	roles := *list
	if d.sound(list) && len(roles) > most {
		d.refuse(list, fmt.Sprintf("a list of %d", len(roles)), fmt.Sprintf("at most %d roles: %s", most, why))
	}
	checkEach(d, roles, d.roleOf(account, key))
	first := map[string]*string{}
	for i := range roles {
		if !d.sound(&roles[i], account, &d.config.Region) {
			continue
		}
		arn := roleARN(d.config.Region, *account, roles[i])
		if before := first[arn]; before != nil {
			d.refuse(&roles[i], quote(roles[i])+" again", fmt.Sprintf("each role once (also %s)", d.places[before].path))
			continue
		}
		first[arn] = &roles[i]
	}
}

// roleOf is the rule for the name or the ARN of a role, which has to be in that account: a role of another one would need
// a policy of its own there, and a policy here that names it opens things to that account.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
func (d *document) roleOf(account *string, key string) rule[string] {
	partition, id := `aws(-[a-z]+)*`, `[0-9]{12}`
	if d.sound(&d.config.Region) {
		partition = partitionOf(d.config.Region)
	}
	shown := "<account>"
	if d.sound(account) {
		id, shown = *account, *account
	}
	const name = `[A-Za-z0-9_+=,.@-]{1,64}`
	return matches(fmt.Sprintf(`%s|arn:%s:iam::%s:role/(%s/)*%s`, name, partition, id, name, name),
		fmt.Sprintf("the name of a role in %s, or its ARN: arn:…:iam::%s:role/<name>", key, shown))
}
