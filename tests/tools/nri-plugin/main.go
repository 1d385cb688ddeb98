// SPDX-License-Identifier: Apache-2.0

// nri-plugin is an NRI plugin on the published stub that does what a file of rules says and keeps
// a log of what it hears.
//
//	nri-plugin -socket PATH -idx 10 -name a -rules FILE -log FILE
//	nri-plugin -shape                 the shape of the protocol, one line for each field
//	nri-plugin -evict ID -socket ...  evicts a container; the stub has no way to
//
// The rules are read anew for each event. Started by the runtime, it finds all but the rules and
// the log in its environment, and those in its configuration: two lines, RULES and LOG. Each line on
// standard input is a list of container updates to be made unasked.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// rules say what to do when an event comes.
type rules struct {
	// Events to subscribe to; empty for all.
	Events string `json:"events"`
	// Words to refuse an event with.
	Fail map[string]string `json:"fail"`
	// Milliseconds to wait before an answer, by event or by "event/container".
	Hang map[string]int `json:"hang"`
	// Adjustments by container name; "*" for all others.
	Adjust map[string]json.RawMessage `json:"adjust"`
	// Updates of containers by event.
	Update map[string][]json.RawMessage `json:"update"`
	// Reason to reject adjustments with, as a validator.
	Reject string `json:"reject"`
}

// line is one line of the log.
type line struct {
	Event     string          `json:"event"`
	Plugin    string          `json:"plugin"`
	Pod       string          `json:"pod,omitempty"`
	Container string          `json:"container,omitempty"`
	Pods      []string        `json:"pods,omitempty"`
	Names     []string        `json:"names,omitempty"`
	Detail    json.RawMessage `json:"detail,omitempty"`
	Failed    []string        `json:"failed,omitempty"`
	Owners    json.RawMessage `json:"owners,omitempty"`
}

type plugin struct {
	name, rules, log string
	stub             stub.Stub
	lock             sync.Mutex
}

func main() {
	socket := flag.String("socket", "", "the runtime's socket")
	idx := flag.String("idx", "", "index")
	name := flag.String("name", "", "name")
	rulesFile := flag.String("rules", "", "file of rules")
	logFile := flag.String("log", "", "file of events")
	evicted := flag.String("evict", "", "container to evict")
	shapeOnly := flag.Bool("shape", false, "print the protocol's shape")
	flag.Parse()
	var err error
	switch {
	case *shapeOnly:
		shape()
	case *evicted != "":
		err = evict(*socket, *evicted)
	default:
		err = (&plugin{name: *name, rules: *rulesFile, log: *logFile}).run(*socket, *idx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "nri-plugin:", err)
		os.Exit(1)
	}
}

func (p *plugin) run(socket, idx string) error {
	var options []stub.Option
	if socket != "" {
		options = []stub.Option{
			stub.WithSocketPath(socket), stub.WithPluginIdx(idx), stub.WithPluginName(p.name),
		}
		go p.updates()
	} else {
		p.name = os.Getenv(api.PluginNameEnvVar)
	}
	var err error
	if p.stub, err = stub.New(p, options...); err != nil {
		return err
	}
	return p.stub.Run(context.Background())
}

// updates makes those that come in on standard input.
func (p *plugin) updates() {
	scanner := bufio.NewScanner(os.Stdin)
	for scanner.Scan() {
		var raw []json.RawMessage
		if err := json.Unmarshal(scanner.Bytes(), &raw); err != nil {
			panic(err)
		}
		failed, err := p.stub.UpdateContainers(parseUpdates(raw))
		said := line{Event: "Updated"}
		for _, update := range failed {
			said.Failed = append(said.Failed, update.ContainerId)
		}
		if err != nil {
			said.Failed = append(said.Failed, err.Error())
		}
		p.write(said)
	}
}

func (p *plugin) read() rules {
	var known rules
	if p.rules == "" {
		return known
	}
	text, err := os.ReadFile(p.rules)
	if err == nil {
		err = json.Unmarshal(text, &known)
	}
	if err != nil {
		panic(err)
	}
	return known
}

func (p *plugin) write(said line) {
	p.lock.Lock()
	defer p.lock.Unlock()
	if p.log == "" {
		return
	}
	said.Plugin = p.name
	text, err := json.Marshal(said)
	if err != nil {
		panic(err)
	}
	file, err := os.OpenFile(p.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	if _, err := file.Write(append(text, '\n')); err != nil {
		panic(err)
	}
}

// hear logs an event and does what the rules say of its answer.
func (p *plugin) hear(event string, pod *api.PodSandbox, ctr *api.Container) (rules, error) {
	known := p.read()
	said := line{Event: event, Pod: pod.GetName(), Container: ctr.GetName()}
	if ctr != nil {
		said.Detail = detail(ctr)
	} else if pod != nil {
		said.Detail = detail(pod)
	}
	p.write(said)
	hang := max(known.Hang[event], known.Hang[event+"/"+ctr.GetName()])
	time.Sleep(time.Duration(hang) * time.Millisecond)
	if words := known.Fail[event]; words != "" {
		return known, errors.New(words)
	}
	return known, nil
}

func detail(message proto.Message) json.RawMessage {
	text, err := protojson.Marshal(message)
	if err != nil {
		panic(err)
	}
	return text
}

func parseUpdates(raw []json.RawMessage) []*api.ContainerUpdate {
	var updates []*api.ContainerUpdate
	for _, one := range raw {
		update := &api.ContainerUpdate{}
		if err := protojson.Unmarshal(one, update); err != nil {
			panic(err)
		}
		updates = append(updates, update)
	}
	return updates
}

func (p *plugin) Configure(_ context.Context, config, runtime, version string) (api.EventMask, error) {
	if config != "" {
		parts := strings.Fields(config)
		p.rules, p.log = parts[0], parts[1]
	}
	known, err := p.hear("Configure", nil, nil)
	if err != nil || known.Events == "" {
		return 0, err
	}
	return api.ParseEventMask(known.Events)
}

func (p *plugin) Synchronize(_ context.Context, pods []*api.PodSandbox, ctrs []*api.Container) ([]*api.ContainerUpdate, error) {
	known := p.read()
	said := line{Event: "Synchronize"}
	for _, pod := range pods {
		said.Pods = append(said.Pods, pod.Name)
	}
	for _, ctr := range ctrs {
		said.Names = append(said.Names, ctr.Name)
	}
	p.write(said)
	time.Sleep(time.Duration(known.Hang["Synchronize"]) * time.Millisecond)
	return parseUpdates(known.Update["Synchronize"]), nil
}

func (p *plugin) pod(event string, pod *api.PodSandbox) error {
	_, err := p.hear(event, pod, nil)
	return err
}

func (p *plugin) container(event string, pod *api.PodSandbox, ctr *api.Container) error {
	_, err := p.hear(event, pod, ctr)
	return err
}

func (p *plugin) RunPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.pod("RunPodSandbox", pod)
}

func (p *plugin) UpdatePodSandbox(_ context.Context, pod *api.PodSandbox, _, _ *api.LinuxResources) error {
	return p.pod("UpdatePodSandbox", pod)
}

func (p *plugin) PostUpdatePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.pod("PostUpdatePodSandbox", pod)
}

func (p *plugin) StopPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.pod("StopPodSandbox", pod)
}

func (p *plugin) RemovePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.pod("RemovePodSandbox", pod)
}

func (p *plugin) CreateContainer(_ context.Context, pod *api.PodSandbox, ctr *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	known, err := p.hear("CreateContainer", pod, ctr)
	if err != nil {
		return nil, nil, err
	}
	adjust := &api.ContainerAdjustment{}
	raw, found := known.Adjust[ctr.Name]
	if !found {
		raw, found = known.Adjust["*"]
	}
	if found {
		if err := protojson.Unmarshal(raw, adjust); err != nil {
			panic(err)
		}
	}
	return adjust, parseUpdates(known.Update["CreateContainer"]), nil
}

func (p *plugin) PostCreateContainer(_ context.Context, pod *api.PodSandbox, ctr *api.Container) error {
	return p.container("PostCreateContainer", pod, ctr)
}

func (p *plugin) StartContainer(_ context.Context, pod *api.PodSandbox, ctr *api.Container) error {
	return p.container("StartContainer", pod, ctr)
}

func (p *plugin) PostStartContainer(_ context.Context, pod *api.PodSandbox, ctr *api.Container) error {
	return p.container("PostStartContainer", pod, ctr)
}

func (p *plugin) UpdateContainer(_ context.Context, pod *api.PodSandbox, ctr *api.Container, _ *api.LinuxResources) ([]*api.ContainerUpdate, error) {
	known, err := p.hear("UpdateContainer", pod, ctr)
	return parseUpdates(known.Update["UpdateContainer"]), err
}

func (p *plugin) PostUpdateContainer(_ context.Context, pod *api.PodSandbox, ctr *api.Container) error {
	return p.container("PostUpdateContainer", pod, ctr)
}

func (p *plugin) StopContainer(_ context.Context, pod *api.PodSandbox, ctr *api.Container) ([]*api.ContainerUpdate, error) {
	known, err := p.hear("StopContainer", pod, ctr)
	return parseUpdates(known.Update["StopContainer"]), err
}

func (p *plugin) RemoveContainer(_ context.Context, pod *api.PodSandbox, ctr *api.Container) error {
	return p.container("RemoveContainer", pod, ctr)
}

func (p *plugin) ValidateContainerAdjustment(_ context.Context, req *api.ValidateContainerAdjustmentRequest) error {
	known := p.read()
	p.write(line{
		Event: "ValidateContainerAdjustment", Pod: req.Pod.Name, Container: req.Container.Name,
		Owners: detail(req.Owners),
	})
	if known.Reject != "" {
		return errors.New(known.Reject)
	}
	return nil
}
