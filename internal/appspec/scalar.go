package appspec

import (
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// What YAML 1.1 takes plain text for, in the form that Ruby's Psych 4 gives it (scalar_scanner.rb): octal numbers and
// numbers to the base of 60 are in, YAML 1.2's 0o755 is out. https://yaml.org/type/
var (
	// plainText is text at first sight; only a short one can still be a word of YAML's.
	plainText   = regexp.MustCompile(`(?m)^[^0-9.:\-]?[\p{L}\p{M}\p{Nl}_\s!@#$%^&*(){}<>|/\\~;=]+|\n`)
	noWord      = regexp.MustCompile(`(?mi)^[^ytonf~]`)
	nullWord    = regexp.MustCompile(`(?mi)^null$`)
	trueWord    = regexp.MustCompile(`(?mi)^(yes|true|on)$`)
	falseWord   = regexp.MustCompile(`(?mi)^(no|false|off)$`)
	timestamp   = regexp.MustCompile(`^-?\d{4}-\d{1,2}-\d{1,2}(?:[Tt]|\s+)\d{1,2}:\d\d:\d\d(?:\.\d*)?(?:\s*(?:Z|[-+]\d{1,2}:?(?:\d\d)?))?$`)
	date        = regexp.MustCompile(`^\d{4}-(?:1[012]|0\d|\d)-(?:[12]\d|3[01]|0\d|\d)$`)
	infinity    = regexp.MustCompile(`(?i)^[-+]?\.inf$`)
	notANumber  = regexp.MustCompile(`(?i)^\.nan$`)
	quotedName  = regexp.MustCompile(`^:(?:"(.*)"|'(.*)')`)
	base60      = regexp.MustCompile(`^[-+]?[0-9][0-9_]*(:[0-5]?[0-9]){1,2}$`)
	base60Float = regexp.MustCompile(`^[-+]?[0-9][0-9_]*(:[0-5]?[0-9]){1,2}\.[0-9_]*$`)
	floatForm   = regexp.MustCompile(`^[-+]?([0-9][0-9_,]*)?\.[0-9]*([eE][-+][0-9]+)?$`)
	lonePoint   = regexp.MustCompile(`^[-+]?\.$`)
	floatNoise  = regexp.MustCompile(`[,_]|\.([Ee]|$)`)
	integerForm = regexp.MustCompile(`^[-+]?(0b[01_,]+|0[0-7_,]+|0|[1-9](?:[0-9]|,[0-9]|_[0-9])*|0x[0-9a-fA-F_,]+)$`)
)

// resolve gives plain text the kind, text and number that YAML 1.1 takes it for. The reason says why the agent does not
// load it; "" when it does.
func (v *value) resolve(s string) (reason string) {
	v.kind, v.text = text, s
	switch {
	case s == "":
		v.kind, v.text = null, ""
	case plainText.MatchString(s):
		v.resolveWord(s)
	case timestamp.MatchString(s), date.MatchString(s):
		return "which YAML takes for a date"
	case infinity.MatchString(s):
		v.setFloat(math.Inf(1 - 2*strings.Count(s, "-")))
	case notANumber.MatchString(s):
		v.setFloat(math.NaN())
	case len(s) > 1 && s[0] == ':':
		name := s[1:]
		if m := quotedName.FindStringSubmatch(s); m != nil {
			name = strings.TrimPrefix(m[1]+m[2], ":")
		}
		v.kind, v.text = symbol, name
	case base60.MatchString(s):
		v.setInteger(big.NewInt(int64(sixties(s))))
	case base60Float.MatchString(s):
		v.setFloat(sixties(s))
	case floatForm.MatchString(s) && !lonePoint.MatchString(s):
		f, err := strconv.ParseFloat(floatNoise.ReplaceAllString(s, "$1"), 64)
		if err != nil && !math.IsInf(f, 0) {
			return "a number without digits"
		}
		v.setFloat(f)
	case integerForm.MatchString(s):
		n, ok := new(big.Int).SetString(strings.NewReplacer(",", "", "_", "").Replace(s), 0)
		if !ok {
			return "a number without digits"
		}
		v.setInteger(n)
	}
	return ""
}

func (v *value) resolveWord(s string) {
	switch {
	case utf8.RuneCountInString(s) > 5 || noWord.MatchString(s):
	case s == "~", nullWord.MatchString(s):
		v.kind, v.text = null, ""
	case trueWord.MatchString(s):
		v.kind, v.text = boolean, "true"
	case falseWord.MatchString(s):
		v.kind, v.text = boolean, "false"
	}
}

func (v *value) setInteger(n *big.Int) {
	v.kind, v.text = integer, n.String()
	v.number, _ = new(big.Float).SetInt(n).Float64()
}

func (v *value) setFloat(f float64) { v.kind, v.text, v.number = float, floatText(f), f }

// sixties reads 1:30 as Psych does: the first of the parts counts 3600, even where there are two.
func sixties(s string) float64 {
	sum := 0.0
	for i, part := range strings.Split(strings.ReplaceAll(s, "_", ""), ":") {
		n, _ := strconv.ParseFloat(strings.TrimSuffix(part, "."), 64) // the form is checked
		sum += n * []float64{3600, 60, 1}[i]
	}
	return sum
}
