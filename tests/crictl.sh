#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Every subcommand of crictl against an endpoint, with a look at what it prints:
#
#     tests/crictl.sh CRICTL SOCKET AUTH-REGISTRY
#
# AUTH-REGISTRY is a host and port that wants user `crisp`, password `open-sesame`. The endpoint has
# no pods and is used by nobody else. The last line is `N passed, N failed, 0 skipped`.
set -uo pipefail
crictl=${1:?CRICTL} socket=${2:?SOCKET} auth=${3:?AUTH-REGISTRY}
dir=$(mktemp -d)
export TMPDIR=$dir
image=registry.k8s.io/e2e-test-images/busybox:1.29-2
passed=0 failed=0 background=()

finish() {
	local pid
	for pid in "${background[@]}"; do kill "$pid" 2>/dev/null; done
	cri rmp -fa >/dev/null 2>&1
	rm -rf "$dir"
}
trap finish EXIT

echo 'timeout: 60' >"$dir/crictl.yaml"
cri() { "$crictl" -c "$dir/crictl.yaml" -r "unix://$socket" -i "unix://$socket" -t 60s "$@"; }

# check NAME PATTERN COMMAND...: the command succeeds, and what it prints has a line that fits.
check() {
	local name=$1 pattern=$2 out status=0
	shift 2
	out=$(timeout 90 bash -c '"$@"' _ "$@" 2>"$dir/err" </dev/null) || status=$?
	if [ $status = 0 ] && grep -qE -- "$pattern" <<<"$out"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED  $name: no line like '$pattern', status $status"
		echo "${out:0:2000}"
		sed 's/^/    /' "$dir/err" | tail -5
	fi
}

# fails NAME PATTERN COMMAND...: it does not, and says so.
fails() {
	local name=$1 pattern=$2 out
	shift 2
	if out=$(timeout 90 bash -c '"$@"' _ "$@" 2>&1 </dev/null); then
		failed=$((failed + 1)) && echo "FAILED  $name: it succeeded"
	elif grep -qE -- "$pattern" <<<"$out"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1)) && echo "FAILED  $name: no line like '$pattern'" && echo "${out:0:2000}"
	fi
}

# eventually NAME PATTERN FILE
eventually() {
	local _
	for _ in $(seq 100); do
		if grep -qE -- "$2" "$3" 2>/dev/null; then
			passed=$((passed + 1))
			return
		fi
		sleep 0.1
	done
	failed=$((failed + 1)) && echo "FAILED  $1: no line like '$2'" && tail -20 "$3"
}

# pipe INPUT COMMAND...: the command with INPUT, in which \n ends a line.
pipe() { printf '%b' "$1" | timeout 60 "${@:2}"; }

# For `timeout`, which knows no functions.
export crictl socket dir
export -f cri pipe

pod_config() {
	cat >"$dir/pod-$1.json" <<-END
		{"metadata":{"name":"$1","namespace":"crictl","uid":"uid-$1","attempt":0},
		 "hostname":"$1","log_directory":"$dir/logs-$1","labels":{"of":"$1"},"linux":{}}
	END
	mkdir -p "$dir/logs-$1"
}

# container_config NAME SCRIPT MORE
container_config() {
	cat >"$dir/$1.json" <<-END
		{"metadata":{"name":"$1","attempt":0},"image":{"image":"$image"},
		 "command":["sh","-c","$2"],"log_path":"$1.log","labels":{"is":"$1"},"linux":{}$3}
	END
}

# --- the node -------------------------------------------------------------------------------------
check version 'RuntimeName: +crisp' cri version
check info '"NetworkReady"' cri info
check "info, short" 'RuntimeReady' cri info -q
check runtime-config 'cgroup|Driver' cri runtime-config
check update-runtime-config '' cri update-runtime-config --pod-cidr 10.9.0.0/16
check imagefsinfo 'mountpoint|usedBytes' cri imagefsinfo
check metricdescs 'container_cpu_usage_seconds_total' cri metricdescs
check config 'timeout' cri config --list
check completion 'crictl' cri completion bash

# --- images ---------------------------------------------------------------------------------------
check pull 'Image is up to date' cri pull "$image"
check "pull with credentials" 'Image is up to date' cri pull --creds crisp:open-sesame "$auth/crisp/busybox:plain"
check "pull with encoded credentials" 'Image is up to date' \
	cri pull --auth "$(printf 'crisp:open-sesame' | base64)" "$auth/crisp/busybox:zstd"
check "pull of another" 'Image is up to date' cri pull --creds crisp:open-sesame "$auth/crisp/stack:gzip"
fails "pull with a wrong password" 'does not take the given user and password' \
	cri pull --creds crisp:wrong "$auth/crisp/busybox:list"
fails "pull of what is not there" 'not found|unknown|NotFound' cri pull registry.k8s.io/no/such:image
check images 'e2e-test-images/busybox +1.29-2' cri images
check "images, by digest" '[0-9a-f]{13} +[0-9a-f]{13}' cri images --digests
check "images, ids" '^(sha256:)?[0-9a-f]{13,}' cri images -q
check inspecti '"repoTags"' cri inspecti "$image"

# --- pods and containers --------------------------------------------------------------------------
cri events >"$dir/events" 2>&1 &
background+=($!)
pod_config one
check runp '^[0-9a-f]{64}$' cri runp "$dir/pod-one.json"
pod=$(cri pods -q)
check pods 'Ready +one +crictl' cri pods
check "pods, by label" "^$pod$" cri pods -q --no-trunc --label of=one
check inspectp '"state": "SANDBOX_READY"' cri inspectp "$pod"
check "inspectp, by a part of its id" '"ip": ' cri inspectp "${pod:0:13}"
# shellcheck disable=SC2016 # it is the container's shell that expands
container_config loop 'n=0; while true; do echo line $n; n=$((n+1)); sleep 0.2; done' ''
check create '^[0-9a-f]{64}$' cri create "$pod" "$dir/loop.json" "$dir/pod-one.json"
loop=$(cri ps -aq --no-trunc)
check "ps of a created one" 'Created +loop' cri ps -a
check start "^$loop" cri start "$loop"
check ps 'Running +loop' cri ps
check "ps, by state and image" "^$loop$" cri ps -q --no-trunc --state running --image "$image"
check inspect '"state": "CONTAINER_RUNNING"' cri inspect "$loop"
check "inspect, by template" '^loop$' \
	cri inspect -o go-template --template '{{.status.metadata.name}}' "$loop"
eventually events 'CONTAINER_STARTED_EVENT|containerEventType' "$dir/events"

# --- streams --------------------------------------------------------------------------------------
check "exec -s" '^synchronous$' cri exec -s "$loop" echo synchronous
fails "exec -s with a timeout" 'DeadlineExceeded|deadline|timed out' cri exec -s --timeout 1 "$loop" sleep 60
for transport in spdy websocket; do
	check "exec over $transport" '^streamed$' cri exec -r $transport "$loop" echo streamed
	check "exec -i over $transport" '^in and out$' \
		pipe 'in and out\n' "$crictl" -r "unix://$socket" exec -i -r $transport "$loop" cat
	fails "exec over $transport that fails" 'exit code 7|status 7|code: 7' cri exec -r $transport "$loop" sh -c 'exit 7'
	check "exec -it over $transport" 'terminal-42' \
		script -qec "$crictl -r unix://$socket -t 60s exec -it -r $transport $loop sh -c 'test -t 0 && echo terminal-\$((40+2))'" /dev/null
done
container_config cat 'cat; echo ended' ',"stdin":true,"stdin_once":true'
for transport in spdy websocket; do
	cat=$(cri create "$pod" "$dir/cat.json" "$dir/pod-one.json") && cri start "$cat" >/dev/null
	check "attach over $transport" '^to be attached$' \
		pipe 'to be attached\n' "$crictl" -r "unix://$socket" attach -i -r $transport "$cat"
	check "rm of an exited one" "^$cat" cri rm "$cat"
done
container_config web 'mkdir /www; echo served >/www/file; httpd -f -h /www -p 127.0.0.1:8080' ''
web=$(cri create "$pod" "$dir/web.json" "$dir/pod-one.json") && cri start "$web" >/dev/null
port=18080
for transport in spdy websocket; do
	cri port-forward -r $transport "$pod" $port:8080 >"$dir/forward-$transport" 2>&1 &
	background+=($!)
	eventually "port-forward over $transport" "Forwarding from 127.0.0.1:$port" "$dir/forward-$transport"
	exec 3<>/dev/tcp/127.0.0.1/$port && printf 'GET /file HTTP/1.0\r\n\r\n' >&3
	timeout 20 cat <&3 >"$dir/page"
	exec 3>&-
	eventually "a page over $transport" '^served' "$dir/page"
	port=$((port + 1))
done

# --- logs -----------------------------------------------------------------------------------------
check logs '^line 0$' cri logs "$loop"
check "logs, the last" '^line [0-9]+$' cri logs --tail 1 "$loop"
check "logs with times" '^20[0-9-]+T.* line 0$' cri logs --timestamps "$loop"
cri logs -f --tail 1 "$loop" >"$dir/follow" 2>&1 &
background+=($!)
now=$(cri logs --tail 1 "$loop") && now=${now#line }
eventually "logs -f" "^line $((now + 5))$" "$dir/follow"
mv "$dir/logs-one/loop.log" "$dir/logs-one/loop.log.1"
check "logs -r" '' cri logs -r "$loop"
eventually "a log that was reopened" 'stdout F line' "$dir/logs-one/loop.log"

# --- resources ------------------------------------------------------------------------------------
check stats "${loop:0:13} +loop" cri stats
check "stats as JSON" '"workingSetBytes"' cri stats -o json "$loop"
check statsp "one +${pod:0:13}|${pod:0:13}" cri statsp
check "statsp as JSON" '"cpu"' cri statsp -o json --id "$pod"
check metricsp 'container_memory_working_set_bytes|podMetrics' cri metricsp
check update "^$loop" cri update --memory 67108864 --cpu-share 512 "$loop"
check "what was updated" '"memoryLimitInBytes": "67108864"' cri inspect "$loop"

# --- the end --------------------------------------------------------------------------------------
check stop "^$loop" cri stop --timeout 1 "$loop"
check "ps of a stopped one" 'Exited +loop' cri ps -a
fails "exec in a stopped one" 'not running' cri exec "$loop" true
check "start again is refused, rm is not" "^$loop" cri rm "$loop"
check "rm -f of a running one" "^$web" cri rm -f "$web"
check stopp "Stopped sandbox $pod" cri stopp "$pod"
check "pods, stopped" 'NotReady +one' cri pods
check rmp "Removed sandbox $pod" cri rmp "$pod"
pod_config two
container_config short 'echo ran' ''
check run '^[0-9a-f]{64}$' cri run --no-pull "$dir/short.json" "$dir/pod-two.json"
short=$(cri ps -alq --no-trunc)
eventually "the log of a pod that was run" 'stdout F ran' "$dir/logs-two/short.log"
check "logs of a pod that was run" '^ran$' cri logs "$short"
check "rmi --prune" 'Deleted: .*stack:gzip' cri rmi --prune
check "an image in use is not pruned" 'e2e-test-images/busybox' cri images
check "rmp -fa" 'Removed sandbox' cri rmp -fa
check "rmi -a" 'Deleted: .*1.29-2' cri rmi -a
check "nothing is left" '^$' cri ps -aq
printf '\n%d passed, %d failed, 0 skipped\n' $passed $failed
[ $failed = 0 ]
