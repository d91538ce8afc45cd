// Package constructs holds the building blocks of the two stacks, one file
// per construct.
//
// All of them follow one contract:
//
//   - NewX(scope, id, XProps) *X defines the construct X under scope. Props are
//     plain Go values; each says its meaning, its unit, and whether it is
//     required or what happens without it. What may never vary is not a prop.
//   - *X has named fields only, and only what another construct or the stack
//     needs. It never embeds a CDK interface: the jsii runtime cannot pass
//     such a struct back.
//   - The ids given to child constructs are part of the contract: changing one
//     changes the logical id, and CloudFormation then replaces the resource.
//   - A finding of a checker that stays is acknowledged next to its resource,
//     with the reason (acknowledge, in findings.go). docs/findings.md lists all.
//   - Constructs know neither the configuration nor the environment. They
//     panic on a mistake of the calling code; what a user can get wrong is
//     refused earlier, by package config.
package constructs
