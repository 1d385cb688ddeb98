// SPDX-License-Identifier: Apache-2.0

// Command kubectl-streams is kubectl's own streaming client, from the module it is made of, without
// an API server between: it speaks to the URLs that a runtime answers Exec, Attach and PortForward
// with.
//
//	kubectl-streams run -wire spdy|websocket -url URL [-stdin] [-stdout] [-stderr] [-tty [-sizes FILE]]
//	kubectl-streams forward -wire spdy|websocket -url URL PORT...
//
// `run` joins the streams with its own and ends with the command's exit code, or 125 when there was
// none. FILE, which may be a named pipe, holds lines `WIDTH HEIGHT`. `forward` listens on a port of
// its choice for each PORT, says `LOCAL PORT` for each, and goes on until its standard input ends.
// For https, -ca FILE has the certificates to trust.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/exec"
)

// noExit is the exit code for a command that did not end with one of its own.
const noExit = 125

// where says how the runtime is reached.
type where struct {
	wire string
	url  string
	ca   string
}

func (w *where) flags(set *flag.FlagSet) {
	set.StringVar(&w.wire, "wire", "spdy", "spdy or websocket")
	set.StringVar(&w.url, "url", "", "what the runtime answered")
	set.StringVar(&w.ca, "ca", "", "file with the certificates to trust")
}

func (w *where) config() *rest.Config {
	return &rest.Config{Host: w.url, TLSClientConfig: rest.TLSClientConfig{CAFile: w.ca}}
}

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("run or forward?"))
	}
	var err error
	switch verb, rest := os.Args[1], os.Args[2:]; verb {
	case "run":
		err = run(context.Background(), rest)
	case "forward":
		err = forward(rest)
	default:
		err = fmt.Errorf("%s: neither run nor forward", verb)
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	var exit exec.CodeExitError
	if errors.As(err, &exit) {
		os.Exit(exit.Code)
	}
	fmt.Fprintln(os.Stderr, "kubectl-streams:", err)
	os.Exit(noExit)
}
