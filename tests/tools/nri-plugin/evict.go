// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/net/multiplex"
	"github.com/containerd/ttrpc"
)

// silent is a plugin that hears nothing but what all must hear.
type silent struct {
	api.PluginService
	synchronized chan struct{}
}

func (s *silent) Configure(context.Context, *api.ConfigureRequest) (*api.ConfigureResponse, error) {
	mask := api.EventMask(0)
	mask.Set(api.Event_POST_UPDATE_POD_SANDBOX)
	return &api.ConfigureResponse{Events: int32(mask)}, nil
}

func (s *silent) Synchronize(_ context.Context, req *api.SynchronizeRequest) (*api.SynchronizeResponse, error) {
	if !req.More {
		close(s.synchronized)
	}
	return &api.SynchronizeResponse{More: req.More}, nil
}

// evict registers as a plugin and asks for the end of a container.
func evict(socket, id string) error {
	trunk, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	mux := multiplex.Multiplex(trunk)
	defer mux.Close()
	listener, err := mux.Listen(multiplex.PluginServiceConn)
	if err != nil {
		return err
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	service := &silent{synchronized: make(chan struct{})}
	api.RegisterPluginService(server, service)
	go func() { _ = server.Serve(context.Background(), listener) }()
	conn, err := mux.Open(multiplex.RuntimeServiceConn)
	if err != nil {
		return err
	}
	runtime := api.NewRuntimeClient(ttrpc.NewClient(conn))
	ctx := context.Background()
	register := &api.RegisterPluginRequest{PluginName: "evictor", PluginIdx: "50"}
	if _, err := runtime.RegisterPlugin(ctx, register); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	<-service.synchronized
	eviction := &api.ContainerEviction{ContainerId: id, Reason: "the node needs it"}
	_, err = runtime.UpdateContainers(ctx, &api.UpdateContainersRequest{Evict: []*api.ContainerEviction{eviction}})
	return err
}
