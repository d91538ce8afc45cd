// Command program is tested as a program.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) == 1 {
		fmt.Print("alone")
	}
}
