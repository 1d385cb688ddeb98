// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"sort"
	"strings"

	"github.com/containerd/nri/pkg/api"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// shape prints the protocol that the stub speaks, in the form of crisp_nri::shape.
func shape() {
	file := api.File_pkg_api_api_proto
	var lines []string
	messages := file.Messages()
	for i := range messages.Len() {
		lines = append(lines, message(messages.Get(i))...)
	}
	enums := file.Enums()
	for i := range enums.Len() {
		values := enums.Get(i).Values()
		for j := range values.Len() {
			value := values.Get(j)
			lines = append(lines, fmt.Sprintf("enum %s %s = %d", enums.Get(i).Name(), value.Name(), value.Number()))
		}
	}
	services := file.Services()
	for i := range services.Len() {
		service := services.Get(i)
		// For plugins that run inside of the runtime.
		if service.Name() == "HostFunctions" {
			continue
		}
		for j := range service.Methods().Len() {
			method := service.Methods().Get(j)
			lines = append(lines, fmt.Sprintf("rpc %s.%s %s %s", service.Name(), method.Name(), method.Input().Name(), method.Output().Name()))
		}
	}
	sort.Strings(lines)
	for _, line := range lines {
		fmt.Println(line)
	}
}

func message(of protoreflect.MessageDescriptor) []string {
	const pkg = "nri.pkg.api.v1alpha1."
	name := strings.TrimPrefix(string(of.FullName()), pkg)
	if name == "LogRequest" {
		return nil
	}
	var lines []string
	for i := range of.Fields().Len() {
		field := of.Fields().Get(i)
		label, kind := "one", field.Kind().String()
		if field.Cardinality() == protoreflect.Repeated {
			label = "repeated"
		}
		kindOf := ""
		if field.Message() != nil {
			kindOf = strings.TrimPrefix(string(field.Message().FullName()), pkg)
		} else if field.Enum() != nil {
			kindOf = strings.TrimPrefix(string(field.Enum().FullName()), pkg)
		}
		line := fmt.Sprintf("%s %s = %d %s %s %s", name, strings.ToLower(string(field.Name())), field.Number(), label, kind, kindOf)
		lines = append(lines, strings.TrimRight(line, " "))
	}
	for i := range of.Messages().Len() {
		lines = append(lines, message(of.Messages().Get(i))...)
	}
	return lines
}
