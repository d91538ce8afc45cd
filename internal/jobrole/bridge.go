package jobrole

import (
	"net"
	"net/netip"
	"os"
)

// OnBridge says whether an address is one of this host's own, or in the network of one of
// its bridges: Docker makes one for each job. It looks anew each time, for bridges come and
// go with the jobs.
//
// A bridge is told by what the kernel says and not by its name, which an operator may
// choose.
func OnBridge(address netip.Addr) (bool, error) {
	devices, err := net.Interfaces()
	if err != nil {
		return false, err
	}
	for _, device := range devices {
		networks, err := device.Addrs()
		if err != nil {
			continue // a bridge that has gone since
		}
		_, err = os.Stat("/sys/class/net/" + device.Name + "/bridge")
		isBridge := err == nil
		for _, network := range networks {
			prefix, err := netip.ParsePrefix(network.String())
			if err == nil && (prefix.Addr() == address || isBridge && prefix.Contains(address)) {
				return true, nil
			}
		}
	}
	return false, nil
}
