package gitlab

import "slices"

// SigningKey is a key that packages are signed with.
type SigningKey struct {
	ID string // in the name of its file
	// Fingerprints are those of the key, whole; several when GitLab has put another key at the same address.
	Fingerprints []string
}

// Is says whether a fingerprint is one of the key's.
func (k SigningKey) Is(fingerprint string) bool { return slices.Contains(k.Fingerprints, fingerprint) }

var (
	oldServerKey = SigningKey{"3D645A26AB9FBD22", []string{"DBEF89774DDB9EB37D9FC3A03CFCF9BAF27EAB47", "9E71648F3A35EA00CAE443E7115511326BA734DA"}}
	newServerKey = SigningKey{"CB947AD886C8E8FD", []string{"98BFDB87FCF10076416C1E0BAD997ACC82DD593D"}}
)

// ServerKeys are the keys that packages of a GitLab's time are signed with; both around the change of 2025-02-14.
// https://docs.gitlab.com/omnibus/update/package_signatures/
func ServerKeys(version string) []SigningKey {
	v, err := ParseVersion(version)
	if err != nil || v.Compare(Version{17, 7, 0}) < 0 {
		return []SigningKey{oldServerKey}
	}
	return []SigningKey{oldServerKey, newServerKey}
}

// RunnerKeys are those of GitLab Runner's packages, which were replaced in June 2021 and in April 2023; both around a change.
// https://docs.gitlab.com/runner/install/linux-repository/#current-gpg-public-key
func RunnerKeys(version string) []SigningKey {
	keys := []SigningKey{
		{"366915F31B487241", []string{"30183AC2C4E23A409EFBE7059CE45ABC880721D4"}},
		{"4C80FB51394521E9", []string{"09E57083F34CCA94D541BC58A674BF8135DFA027"}},
		{"49F16C5CC3A0F81F", []string{"931DA69CFA3AFEBBC97DAA8C6C57C29C6BA75A4E"}},
	}
	v, err := ParseVersion(version)
	switch {
	case err != nil || v.Compare(Version{14, 0, 0}) < 0:
		return keys[:2]
	case v.Compare(Version{16, 0, 0}) < 0:
		return keys[1:]
	}
	return keys[2:]
}
