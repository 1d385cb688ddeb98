// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net/url"
	"os"

	"k8s.io/client-go/tools/remotecommand"
)

// run is what `kubectl exec` and `kubectl attach` do.
func run(ctx context.Context, args []string) error {
	var at where
	set := flag.NewFlagSet("run", flag.ExitOnError)
	at.flags(set)
	stdin := set.Bool("stdin", false, "send standard input")
	stdout := set.Bool("stdout", false, "take standard output")
	stderr := set.Bool("stderr", false, "take standard error")
	tty := set.Bool("tty", false, "it is a terminal")
	sizes := set.String("sizes", "", "file with the terminal's sizes")
	if err := set.Parse(args); err != nil {
		return err
	}
	executor, err := executor(at)
	if err != nil {
		return err
	}
	options := remotecommand.StreamOptions{Tty: *tty}
	if *stdin {
		options.Stdin = os.Stdin
	}
	if *stdout {
		options.Stdout = os.Stdout
	}
	if *stderr {
		options.Stderr = os.Stderr
	}
	if *sizes != "" {
		file, err := os.Open(*sizes)
		if err != nil {
			return err
		}
		options.TerminalSizeQueue = &terminal{lines: bufio.NewScanner(file)}
	}
	return executor.StreamWithContext(ctx, options)
}

func executor(at where) (remotecommand.Executor, error) {
	switch at.wire {
	case "spdy":
		to, err := url.Parse(at.url)
		if err != nil {
			return nil, err
		}
		return remotecommand.NewSPDYExecutor(at.config(), "POST", to)
	case "websocket":
		return remotecommand.NewWebSocketExecutor(at.config(), "GET", at.url)
	}
	return nil, fmt.Errorf("%s: neither spdy nor websocket", at.wire)
}

// terminal has sizes, one on each line.
type terminal struct {
	lines *bufio.Scanner
}

// Next implements remotecommand.TerminalSizeQueue; nil after the last size.
func (t *terminal) Next() *remotecommand.TerminalSize {
	var size remotecommand.TerminalSize
	if !t.lines.Scan() {
		return nil
	}
	if _, err := fmt.Sscan(t.lines.Text(), &size.Width, &size.Height); err != nil {
		fmt.Fprintln(os.Stderr, "kubectl-streams: size:", err)
		return nil
	}
	return &size
}
