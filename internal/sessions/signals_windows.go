package sessions

import "os"

// typed are the signals of keys: Windows sends them to each program of the console.
var typed = []os.Signal{os.Interrupt}

// passed are those that this program can send to another one: none.
var passed []os.Signal

func exitStatus(state *os.ProcessState) int { return state.ExitCode() }
