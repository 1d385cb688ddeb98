// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// forward is what `kubectl port-forward` does.
func forward(args []string) error {
	var at where
	set := flag.NewFlagSet("forward", flag.ExitOnError)
	at.flags(set)
	if err := set.Parse(args); err != nil {
		return err
	}
	dialer, err := dialer(at)
	if err != nil {
		return err
	}
	var ports []string
	for _, port := range set.Args() {
		ports = append(ports, "0:"+port)
	}
	stop, ready := make(chan struct{}), make(chan struct{})
	forwarder, err := portforward.NewOnAddresses(
		dialer, []string{"127.0.0.1"}, ports, stop, ready, io.Discard, os.Stderr)
	if err != nil {
		return err
	}
	go func() {
		<-ready
		listening, err := forwarder.GetPorts()
		if err != nil {
			fail(err)
		}
		for _, port := range listening {
			fmt.Println(port.Local, port.Remote)
		}
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	return forwarder.ForwardPorts()
}

func dialer(at where) (httpstream.Dialer, error) {
	to, err := url.Parse(at.url)
	if err != nil {
		return nil, err
	}
	switch at.wire {
	case "spdy":
		transport, upgrader, err := spdy.RoundTripperFor(at.config())
		if err != nil {
			return nil, err
		}
		return spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", to), nil
	case "websocket":
		return portforward.NewSPDYOverWebsocketDialer(to, at.config())
	}
	return nil, fmt.Errorf("%s: neither spdy nor websocket", at.wire)
}
