# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154 # variables cross files
#
# Finds the compilers, installs packages. To be sourced, with `root` set to the checkout.
#
# Builds run as the owner of the checkout, whoever called: `sudo ./dev run` then leaves no file of
# root's in the owner's target directory, and finds the toolchain in the owner's home.

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

builder=$(stat -c %U "$root")
if [ "$builder" = "$(id -un)" ] || [ "$(id -u)" != 0 ]; then
	builder_home=${HOME:-$(getent passwd "$builder" | cut -d: -f6)}
	as_builder() { env HOME="$builder_home" PATH="$builder_home/.cargo/bin:$PATH" "$@"; }
else
	builder_home=$(getent passwd "$builder" | cut -d: -f6)
	as_builder() {
		runuser -u "$builder" -- env HOME="$builder_home" PATH="$builder_home/.cargo/bin:$PATH" "$@"
	}
fi

# as_builder runs programs, never functions, whoever the builder is: `as_builder env X=Y program`.

target=${CARGO_TARGET_DIR:-$root/target}

# need_cargo: a Rust of at least the version the workspace asks for, or an error that says what to do.
need_cargo() {
	local want have
	want=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
	have=$(cd "$root" && as_builder rustc --version 2>&1) ||
		die "$builder has no working rustc (on PATH or in $builder_home/.cargo/bin), and crisp needs Rust $want or later; it said: $have"
	have=$(cut -d' ' -f2 <<<"$have")
	not_below "$have" "$want" ||
		die "rustc is $have, crisp needs $want or later; a rustup toolchain follows rust-toolchain.toml by itself"
}

# need_go: sets `go` to a command that is a Go of at least tests/tools/go.mod's version. Where there
# is none, Debian's own Go fetches that version as the module `golang.org/toolchain`.
need_go() {
	local want have dir arch
	want=$(sed -n 's/^go //p' "$root/tests/tools/go.mod")
	have=$(go_version)
	if [ -z "$have" ]; then
		say "Installing Debian's Go, to fetch Go $want with it"
		apt_install golang-go
		have=$(go_version)
	fi
	if not_below "$have" "$want"; then
		go=(env GOTOOLCHAIN=local go)
	elif not_below "$have" 1.21; then
		go=(env "GOTOOLCHAIN=go$want" go)
	else
		say "Fetching Go $want (this machine has $have)"
		arch=$(as_builder go env GOARCH)
		dir=$(as_builder go mod download -json "golang.org/toolchain@v0.0.1-go$want.linux-$arch" |
			sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
		[ -d "$dir" ] || die "Go $want could not be fetched by Go $have"
		# A module's files are not executable; a toolchain's must be.
		as_builder chmod -R a+x "$dir/bin" "$dir/pkg/tool"
		go=(env GOTOOLCHAIN=local "GOROOT=$dir" "$dir/bin/go")
	fi
}

# go_version: of the Go on PATH; nothing if there is none.
go_version() {
	{ (cd / && as_builder env GOTOOLCHAIN=local go version 2>/dev/null) || true; } |
		sed -n 's/^go version go\([0-9.]*\).*/\1/p'
}

# not_below VERSION FLOOR
not_below() { [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# apt_install PACKAGE...: installs what is missing; quick when nothing is.
apt_install() {
	local package missing=()
	for package; do
		case $(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) in
		ii*) ;;
		*) missing+=("$package") ;;
		esac
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	[ "$(id -u)" = 0 ] || die "packages are missing: ${missing[*]}; run this as root, or install them"
	say "Installing ${missing[*]}"
	apt_lists
	DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y "${missing[@]}" \
		</dev/null >"${TMPDIR:-/tmp}/crisp-apt.log" 2>&1 || {
		cat "${TMPDIR:-/tmp}/crisp-apt.log" >&2
		die "apt-get could not install ${missing[*]}"
	}
	rm -f "${TMPDIR:-/tmp}/crisp-apt.log"
}

# apt_lists: brings apt's package lists where there are none or they are a day old.
apt_lists() {
	if [ -z "$(find /var/lib/apt/lists -name '*_Packages*' -mtime -1 2>/dev/null | head -n 1)" ]; then
		apt-get -qq update </dev/null >&2 || say "apt-get update failed; going on with the lists at hand"
	fi
}
