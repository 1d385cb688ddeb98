# SPDX-License-Identifier: Apache-2.0
# ./dev does the work; this is for the fingers that type make.
.PHONY: run test check build install conformance clean
run test check build install conformance clean:
	@./dev $@
