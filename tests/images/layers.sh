# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154 # variables cross files
#
# Makes images of Debian packages and lays them down in a registry's storage. To be sourced, with
# `here` (this directory), `debs` (downloads), `storage` and `work` (scratch) set.
#
# The blobs are written straight into the registry's storage, so that every byte of a manifest is
# ours to choose: a client that pushes would recompress layers and rewrite media types.

epoch=1700000000
created=2023-11-14T22:13:20Z
architecture=$(dpkg --print-architecture)
# Debian's packages and OCI's `architecture` agree on the names of what crisp is built for.

# --- Debian packages -------------------------------------------------------------------------------

# unpack DIR PACKAGE...: the files of Debian packages, fetched once.
unpack() {
	local dir=$1 package
	shift
	mkdir -p "$dir"
	for package; do
		if ! compgen -G "$debs/${package}_*.deb" >/dev/null; then
			(cd "$debs" && apt-get -qq -o APT::Sandbox::User=root download "$package")
		fi
		dpkg-deb -x "$debs/${package}"_*.deb "$dir"
	done
}

# program SOURCE TARGET: a static program of one Rust file.
program() {
	"${RUSTC:-rustc}" --edition 2024 -O -C target-feature=+crt-static -C panic=abort -C strip=symbols \
		-o "$2" "$here/$1"
}

# --- layers and manifests --------------------------------------------------------------------------

# blob FILE: moves FILE into the registry's storage; prints its digest.
blob() {
	local hex
	hex=$(sha256sum "$1" | cut -d' ' -f1)
	mkdir -p "$storage/docker/registry/v2/blobs/sha256/${hex:0:2}/$hex"
	mv "$1" "$storage/docker/registry/v2/blobs/sha256/${hex:0:2}/$hex/data"
	echo "sha256:$hex"
}

# layer NAME DIR COMPRESSION: a layer of the files of DIR: gzip, zstd or plain.
# Leaves work/layers/NAME with the diff id, digest, size and compression.
layer() {
	local name=$1 dir=$2 compression=$3 tar=$work/layer.tar diff size
	mkdir -p "$work/layers"
	# Sorted, dated and numbered alike each time. Hard links stay hard links, xattrs stay.
	tar --create --file "$tar" --directory "$dir" --sort=name --mtime="@$epoch" --numeric-owner \
		--format=posix --pax-option='exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime' \
		--xattrs --xattrs-include='*' --transform='s,^\./,,S' .
	diff=sha256:$(sha256sum "$tar" | cut -d' ' -f1)
	case $compression in
	gzip) gzip -n -6 <"$tar" >"$tar.out" ;;
	zstd) zstd -q -3 <"$tar" >"$tar.out" ;;
	plain) mv "$tar" "$tar.out" ;;
	esac
	rm -f "$tar"
	size=$(stat -c %s "$tar.out")
	echo "$diff $(blob "$tar.out") $size $compression" >"$work/layers/$name"
}

media_type() {
	case $1-$2 in
	oci-manifest) echo application/vnd.oci.image.manifest.v1+json ;;
	oci-index) echo application/vnd.oci.image.index.v1+json ;;
	oci-config) echo application/vnd.oci.image.config.v1+json ;;
	oci-plain) echo application/vnd.oci.image.layer.v1.tar ;;
	oci-gzip) echo application/vnd.oci.image.layer.v1.tar+gzip ;;
	oci-zstd) echo application/vnd.oci.image.layer.v1.tar+zstd ;;
	docker-manifest) echo application/vnd.docker.distribution.manifest.v2+json ;;
	docker-index) echo application/vnd.docker.distribution.manifest.list.v2+json ;;
	docker-config) echo application/vnd.docker.container.image.v1+json ;;
	docker-gzip) echo application/vnd.docker.image.rootfs.diff.tar.gzip ;;
	*) echo "no media type for $2 in a $1 image" >&2 && return 1 ;;
	esac
}

# manifest FORMAT ARCHITECTURE CONFIG LAYER...: an image; CONFIG is JSON members of its `config`.
# Sets `manifest` to "DIGEST SIZE" and `blobs` to all it refers to.
manifest() {
	local format=$1 arch=$2 config=$3 diffs='' layers='' name diff digest size compression media
	shift 3
	blobs=()
	for name; do
		read -r diff digest size compression <"$work/layers/$name"
		media=$(media_type "$format" "$compression")
		diffs+="${diffs:+,}\"$diff\""
		layers+="${layers:+,}{\"mediaType\":\"$media\",\"digest\":\"$digest\",\"size\":$size}"
		blobs+=("$digest")
	done
	printf '{"created":"%s","architecture":"%s","os":"linux","config":{%s},"rootfs":{"type":"layers","diff_ids":[%s]}}' \
		"$created" "$arch" "$config" "$diffs" >"$work/config"
	size=$(stat -c %s "$work/config")
	digest=$(blob "$work/config")
	blobs+=("$digest")
	media=$(media_type "$format" config)
	printf '{"schemaVersion":2,"mediaType":"%s","config":{"mediaType":"%s","digest":"%s","size":%d},"layers":[%s]}' \
		"$(media_type "$format" manifest)" "$media" "$digest" "$size" "$layers" >"$work/manifest"
	size=$(stat -c %s "$work/manifest")
	manifest="$(blob "$work/manifest") $size"
}

# link DIR DIGEST: one reference in the registry's storage.
link() {
	mkdir -p "$1"
	printf %s "$2" >"$1/link"
}

# revise REPOSITORY MANIFEST-DIGEST BLOB...: makes the repository own a manifest and its blobs.
revise() {
	local at=$storage/docker/registry/v2/repositories/$1 digest=$2 item
	shift 2
	for item; do link "$at/_layers/sha256/${item#sha256:}" "$item"; done
	link "$at/_manifests/revisions/sha256/${digest#sha256:}" "$digest"
}

# tag REPOSITORY:TAG DIGEST
tag() {
	local at=$storage/docker/registry/v2/repositories/${1%:*}/_manifests/tags/${1##*:}
	link "$at/current" "$2"
	link "$at/index/sha256/${2#sha256:}" "$2"
	echo "$1 $2" >>"$work/list"
}

# image REFERENCES FORMAT CONFIG LAYER...: an image under one or more `REPOSITORY:TAG`.
image() {
	local references=$1 format=$2 config=$3 reference
	shift 3
	manifest "$format" "$architecture" "$config" "$@"
	for reference in $references; do
		revise "${reference%:*}" "${manifest% *}" "${blobs[@]}"
		tag "$reference" "${manifest% *}"
	done
}

# index REFERENCE FORMAT CONFIG LAYER...: the same image for this machine and for two others,
# with this machine's in the middle: whoever takes the first or the last is caught.
index() {
	local reference=$1 format=$2 config=$3 arch foreign entries='' size digest
	shift 3
	foreign=(s390x riscv64)
	for arch in "${foreign[0]}" "$architecture" "${foreign[1]}"; do
		manifest "$format" "$arch" "$config" "$@"
		revise "${reference%:*}" "${manifest% *}" "${blobs[@]}"
		entries+="${entries:+,}$(printf '{"mediaType":"%s","digest":"%s","size":%d,"platform":{"architecture":"%s","os":"linux"}}' \
			"$(media_type "$format" manifest)" "${manifest% *}" "${manifest#* }" "$arch")"
	done
	printf '{"schemaVersion":2,"mediaType":"%s","manifests":[%s]}' \
		"$(media_type "$format" index)" "$entries" >"$work/index"
	digest=$(blob "$work/index")
	revise "${reference%:*}" "$digest"
	tag "$reference" "$digest"
}

# marker NAME: a layer of one file, so that images that are alike have ids of their own.
marker() {
	mkdir -p "$work/$1.d"
	echo "$1" >"$work/$1.d/$1"
	layer "$1" "$work/$1.d" gzip
}

# --- root file systems -----------------------------------------------------------------------------

# Busybox in its dynamic flavour with one hard link an applet: its shell then starts each applet by
# path, so that a masked or missing file is seen. (The static flavour runs applets in the shell's own
# process; with symbolic links a mask on one applet would hide them all.)
root_busybox() {
	local root=$1 deb=$work/busybox.deb applet
	unpack "$deb" busybox libc6
	mkdir -p "$root"/{bin,dev,etc,home,lib,lib64,proc,root,run,sys,tmp,usr/bin,usr/local/bin,var/run,var/log}
	chmod 1777 "$root/tmp"
	cp -a "$deb/bin/busybox" "$root/bin/busybox"
	for applet in $("$deb/bin/busybox" --list); do
		[ "$applet" = busybox ] || ln "$root/bin/busybox" "$root/bin/$applet"
	done
	install -m 755 "$here/pgrep" "$here/ipcs" "$root/bin/"
	(cd "$deb" && cp -a --parents lib/*/{ld-linux*,libc.so.*,libm.so.*,libresolv.so.*} lib64 "$root/")
	cat >"$root/etc/passwd" <<-'END'
		root:x:0:0:root:/root:/bin/sh
		daemon:x:1:1:daemon:/usr/sbin:/bin/false
		www-data:x:33:33:www-data:/var/www:/bin/false
		nobody:x:65534:65534:nobody:/home:/bin/false
	END
	cat >"$root/etc/group" <<-'END'
		root:x:0:
		daemon:x:1:
		www-data:x:33:
		nogroup:x:65534:
	END
	echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
}

root_nginx() {
	local root=$1 deb=$work/nginx.deb
	unpack "$deb" nginx libcrypt1 libpcre2-8-0 libssl3 zlib1g
	mkdir -p "$root"/{usr/sbin,etc/nginx,var/lib/nginx,var/log/nginx,var/www}
	cp -a "$deb/usr/sbin/nginx" "$root/usr/sbin/"
	# /lib and /usr/lib stay apart in these images; the loader looks into both.
	(cd "$deb" && find lib usr/lib -name '*.so.*' \( -name 'libcrypt.*' -o -name 'libpcre2-8.*' \
		-o -name 'libssl.*' -o -name 'libcrypto.*' -o -name 'libz.*' \) -exec cp -a --parents {} "$root/" \;)
	echo 'served by nginx' >"$root/var/www/index.html"
	nginx_conf "$root" 80
}

nginx_conf() {
	mkdir -p "$1/etc/nginx"
	cat >"$1/etc/nginx/nginx.conf" <<-END
		user www-data www-data;
		worker_processes 1;
		pid /var/run/nginx.pid;
		error_log stderr notice;
		events { worker_connections 64; }
		http {
			access_log /dev/stdout;
			server { listen $2; root /var/www; }
		}
	END
}

# --- configs ---------------------------------------------------------------------------------------

shell='"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Cmd":["sh"]'
cmd() {
	printf '"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Cmd":%s' "$1"
}
