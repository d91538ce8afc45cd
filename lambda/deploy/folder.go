package deploy

import (
	"fmt"
	"strings"

	"gitlab-codedeploy/lambda/internal/allowlist"
	"gitlab-codedeploy/lambda/internal/clip"
)

// misplaced says why a key is not one of its application's, "" if it is. The
// instances of an application read no other keys, so the deployment would fail;
// and who puts an artifact into another application's folder means no good.
//
//	the key                          is the application's
//	<prefix><application>/<more>     yes
//	<prefix><file>                   if the environment has no other application
//	any other                        no
//
// A key is compared as S3 does, letter by letter: it knows no "..".
func misplaced(key, prefix, application string, alone bool) string {
	folder := prefix + application + "/"
	rest, below := strings.CutPrefix(key, prefix)
	if len(key) > len(folder) && strings.HasPrefix(key, folder) || alone && below && rest != "" && !strings.Contains(rest, "/") {
		return ""
	}
	want := folder + "…"
	if alone {
		want += " or " + prefix + "<file>"
	}
	return fmt.Sprintf("the key is %q, want %s for application %s, whose instances read nothing else: correct the job's ARTIFACT_KEY",
		clip.Text(key, 200), want, clip.Text(application, 100))
}

// alone says whether a list has no other application than that one.
func alone(application string, list allowlist.List) bool {
	for pair := range list {
		if pair.Application != application {
			return false
		}
	}
	return true
}
