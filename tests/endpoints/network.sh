# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# The pod network of an endpoint under test. To be sourced.

# number_of DIR: a number from 0 to 199 that is DIR's own, so that runs side by side do not share
# bridges or subnets.
number_of() { echo $((16#$(printf %s "$1" | sha256sum | cut -c1-6) % 200)); }

# network DIR CNI-VERSION: writes DIR/net.d with a dual-stack bridge network of DIR's own.
network() {
	local dir=$1 version=$2 number
	number=$(number_of "$dir")
	mkdir -p "$dir/net.d" "$dir/ipam"
	cat >"$dir/net.d/10-test.conflist" <<-END
		{
		  "cniVersion": "$version",
		  "name": "crisp-test-$number",
		  "plugins": [
		    {
		      "type": "bridge",
		      "bridge": "crispt$number",
		      "isGateway": true,
		      "ipMasq": true,
		      "hairpinMode": true,
		      "ipam": {
		        "type": "host-local",
		        "dataDir": "$dir/ipam",
		        "ranges": [
		          [{ "subnet": "10.86.$number.0/24" }],
		          [{ "subnet": "fd86:$number::/64" }]
		        ],
		        "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }]
		      }
		    },
		    { "type": "portmap", "capabilities": { "portMappings": true } }
		  ]
		}
	END
}

network_gone() { ip link delete "crispt$(number_of "$1")" 2>/dev/null || true; }

# cgroup_gone NAME: removes the cgroup that an endpoint makes above those of pods without a parent, and
# leaves for the next ones. rmdir takes empty ones only: another endpoint may have pods there.
cgroup_gone() {
	find /sys/fs/cgroup -mindepth 1 -maxdepth 2 -type d -name "$1" -exec rmdir {} \; 2>/dev/null || true
}

# wait_for SOCKET PID LOG: until the socket is there; an error with the log if the process ends first.
wait_for() {
	local socket=$1 pid=$2 log=$3 try
	for ((try = 0; try < 300; try++)); do
		[ ! -S "$socket" ] || return 0
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	echo "no $socket; the daemon said:" >&2
	tail -n 30 "$log" >&2
	return 1
}

# end PID SECONDS: asks a process to end, then makes it.
end() {
	local pid=$1 tries=$(($2 * 20))
	kill "$pid" 2>/dev/null || return 0
	while kill -0 "$pid" 2>/dev/null; do
		if [ "$((tries--))" -le 0 ]; then
			kill -9 "$pid" 2>/dev/null
			return 0
		fi
		sleep 0.05
	done
}
