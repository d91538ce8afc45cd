// Package user depends on half.
package user

import "gitlab-codedeploy/test/mutate/testdata/half"

// Answer is half's.
func Answer() string { return half.Elsewhere(true) }
