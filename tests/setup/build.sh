# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154 # variables cross files
#
# Builds crisp. To be sourced after toolchain.sh, with `root` set to the checkout.

cargo() { (cd "$root" && as_builder cargo "$@"); }

# need_build: what every build needs: a Rust, a linker and libc's own files.
need_build() {
	need_cargo
	apt_install gcc libc6-dev
}

# build: the two binaries as they are shipped; sets `crisp` and `shim` to their paths.
build() {
	need_build
	say "Building crisp"
	cargo build --quiet --release -p crisp
	crisp=$target/release/crisp
	say "Building the shim"
	build_shim
}

# The shim is static, so that it starts fast and owes nothing to the host's libc: with musl where
# that Rust target is installed, else with glibc.
build_shim() {
	local host musl sysroot
	host=$(cd "$root" && as_builder rustc -vV | sed -n 's/^host: //p')
	sysroot=$(cd "$root" && as_builder rustc --print sysroot)
	musl=${host/%-gnu/-musl}
	if compgen -G "$sysroot/lib/rustlib/$musl/lib/libstd-*.rlib" >/dev/null; then
		cargo build --quiet --profile shim --target "$musl" -p containerd-shim-crisp-v1
		shim=$target/$musl/shim/containerd-shim-crisp-v1
	else
		say "No Rust target $musl here: linking the shim with glibc, statically"
		(cd "$root" && as_builder env RUSTFLAGS='-C target-feature=+crt-static' \
			cargo build --quiet --profile shim --target "$host" -p containerd-shim-crisp-v1)
		shim=$target/$host/shim/containerd-shim-crisp-v1
	fi
}

# build_static: the daemon with musl, so that it runs on any distribution; sets `crisp`. Where that
# Rust target or its C compiler is missing, `crisp` stays what it is.
build_static() {
	local musl
	musl=$(cd "$root" && as_builder rustc -vV | sed -n 's/^host: \(.*\)-gnu$/\1-musl/p')
	if ! compgen -G "$(cd "$root" && as_builder rustc --print sysroot)/lib/rustlib/$musl/lib/libstd-*.rlib" >/dev/null; then
		say "No Rust target $musl here: the daemon is linked with glibc"
		return
	fi
	apt_install musl-tools
	say "Building crisp, statically"
	(cd "$root" && as_builder env "CC_${musl//-/_}=musl-gcc" \
		cargo build --quiet --release --target "$musl" -p crisp)
	crisp=$target/$musl/release/crisp
}

# images CACHE: the test images and the registry that serves them.
images() {
	apt_install zstd
	apt_lists
	as_builder mkdir -p "$1"
	# The images' two small programs are compiled by the owner's toolchain, in root's name.
	RUSTC=$(cd "$root" && as_builder rustc --print sysroot)/bin/rustc "$root/tests/images/build" "$1"
}
