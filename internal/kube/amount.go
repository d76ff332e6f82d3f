package kube

import (
	"math/big"
	"strings"

	"github.com/berth-dev/berth/internal/lazyregexp"
)

var (
	amount = lazyregexp.New(`^[0-9]+(\.[0-9]+)?(k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$`)
	cpus   = lazyregexp.New(`^([0-9]+(\.[0-9]+)?|[0-9]+m)$`)
	zero   = lazyregexp.New(`^[0.]*[a-zA-Z]*$`)
)

// exponents of 1000, and with an i of 1024, are what a quantity's letter stands for.
const exponents = "kMGTPE"

// quantity is the number that an amount, or a number of processors, stands for.
func quantity(text string) (*big.Rat, bool) {
	if !amount().MatchString(text) && !cpus().MatchString(text) {
		return nil, false
	}
	digits := strings.TrimRight(text, "mi"+strings.ToUpper(exponents)+"k")
	n, ok := new(big.Rat).SetString(digits)
	if !ok {
		return nil, false
	}
	suffix := text[len(digits):]
	if suffix == "m" {
		return n.Quo(n, big.NewRat(1000, 1)), true
	}
	unit := big.NewRat(1000, 1)
	if strings.HasSuffix(suffix, "i") {
		unit = big.NewRat(1024, 1)
	}
	if suffix != "" {
		for range strings.Index(strings.ToLower(exponents), strings.ToLower(suffix[:1])) + 1 {
			n.Mul(n, unit)
		}
	}
	return n, true
}

// atMost refuses a request above the limit of the flag, which Kubernetes does.
func atMost(flag, limit, request string) error {
	most, ok := quantity(limit)
	n, also := quantity(request)
	if ok && also && n.Cmp(most) > 0 {
		return wrong(flag+"-request", "%q is more than %s %s; give at most that", request, flag, limit)
	}
	return nil
}

// checkAmount judges bytes. The m of 512m would be thousandths of a byte; who writes it
// means Mi.
func checkAmount(flag, text string) error {
	if text != "" && (!amount().MatchString(text) || zero().MatchString(text)) {
		return wrong(flag, "%q is no amount in Kubernetes: give 512Mi, 4Gi or a number of bytes", text)
	}
	return nil
}

func checkCPUs(flag, text string) error {
	if text != "" && (!cpus().MatchString(text) || zero().MatchString(text)) {
		return wrong(flag, "%q is no number of processors: give 2, 1.5 or 500m", text)
	}
	return nil
}
