#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# lib.sh: what tests that run real servers share; they source it from the project's root. It counts
# checks, starts children and ends them by number, waits with a limit, writes and starts nginx and
# Apache, and runs pagestay. Everything lies in `scratch`, which goes with the script. PAGESTAY names
# another pagestay than build/pagestay.
#
# A script's main calls `begin`, then `may_watch`, and ends with `finish`; it sets `subject` to what
# its checks are about, and may set `deadline_s`.
set -u -o pipefail
export LC_ALL=C

readonly pagestay=${PAGESTAY:-build/pagestay}
readonly modules=/usr/lib/apache2/modules
# Below the range from which clients get their ports.
next_port=$((18080 + RANDOM % 10000))
# Whatever happens, nothing is waited for after this second of the script's life.
deadline_s=55

scratch=
subject=
passed=0
failed=0
started=()
watcher=
# By server: nginx's and Apache's first process.
declare -A master=()

#
# Checks.
#

finish() {
	printf '%d passed, %d failed\n' "$passed" "$failed"
	((failed == 0))
}

# The rest cannot be tested.
fail() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	failed=$((failed + 1))
	finish
	exit 1
}

# check WHAT EXPECTED ACTUAL
check() {
	if [[ $2 == "$3" ]]; then
		passed=$((passed + 1))
		printf 'ok    %s: %s%s\n' "$subject" "$1" "${2:+ $2}"
	else
		failed=$((failed + 1))
		printf 'FAIL  %s: %s: expected %s, got %s\n' "$subject" "$1" "$2" "$3"
	fi
}

#
# Children.
#

# A child of this script: its number cannot have passed to another process meanwhile.
is_ours() {
	grep -qs "^PPid:[[:blank:]]*$$\$" "/proc/$1/status"
}

has_ended() {
	! is_ours "$1"
}

none_left() {
	local pid
	for pid in "${started[@]}"; do
		has_ended "$pid" || return 1
	done
}

signal_started() {
	local pid
	for pid in "${started[@]}"; do
		is_ours "$pid" && kill "-$1" "$pid" 2>/dev/null
	done
}

# wait_for SECONDS COMMAND...: polls until the command succeeds; false when the time is up.
wait_for() {
	local end=$((SECONDS + $1))
	shift
	((end < deadline_s)) || end=$deadline_s
	until "$@"; do
		((SECONDS < end)) || return 1
		sleep 0.05
	done
}

end_started() {
	local tries
	trap - EXIT
	trap '' INT TERM HUP PIPE
	signal_started TERM
	for ((tries = 0; tries < 30; tries++)); do
		none_left && break
		sleep 0.1
	done
	signal_started KILL
	wait 2>/dev/null
	[[ -z $scratch ]] || rm -rf -- "$scratch"
}

# begin TOOL...: the tools that the script needs besides pagestay.
begin() {
	local tool
	PATH=$PATH:/usr/sbin:/sbin
	trap end_started EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	trap 'exit 141' PIPE
	scratch=$(mktemp -d) || fail "no temporary directory"
	[[ -x $pagestay ]] || fail "$pagestay is not built; run make first, from the project's root"
	for tool; do
		command -v "$tool" >/dev/null || fail "$tool is not installed"
	done
}

#
# Servers. They serve the files of `scratch`/www.
#

is_listening() {
	(: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Sets `port`.
free_port() {
	port=$next_port
	while is_listening "$port"; do
		port=$((port + 1))
	done
	next_port=$((port + 1))
}

make_www() {
	mkdir "$scratch/www" "$scratch/bodies" && chmod 755 "$scratch" "$scratch/www"
}

# Two workers. The http block's other lines come from stdin.
write_nginx_conf() {
	cat >"$scratch/nginx.conf" <<-END
		user root;
		worker_processes 2;
		pid $scratch/nginx.pid;
		error_log $scratch/nginx.err;
		daemon off;
		events { worker_connections 512; }
		http {
			client_body_temp_path $scratch/bodies;
			proxy_temp_path $scratch/bodies;
			fastcgi_temp_path $scratch/bodies;
			uwsgi_temp_path $scratch/bodies;
			scgi_temp_path $scratch/bodies;
			$(cat)
		}
	END
}

# write_apache_conf PROCESSES THREADS: as many of each from the beginning to the end, with the event
# MPM. Other lines come from stdin.
write_apache_conf() {
	cat >"$scratch/apache.conf" <<-END
		ServerRoot $scratch
		ServerName localhost
		PidFile $scratch/apache.pid
		ErrorLog $scratch/apache.err
		User www-data
		Group www-data
		LoadModule mpm_event_module $modules/mod_mpm_event.so
		LoadModule authz_core_module $modules/mod_authz_core.so
		StartServers $1
		ServerLimit $1
		ThreadsPerChild $2
		MaxRequestWorkers $(($1 * $2))
		MinSpareThreads 1
		MaxSpareThreads $(($1 * $2))
		DocumentRoot $scratch/www
		$(cat)
	END
}

# start_nginx PORT: one of those it listens on.
start_nginx() {
	nginx -c "$scratch/nginx.conf" 2>"$scratch/nginx.out" &
	started+=("$!")
	master[nginx]=$!
	wait_for 5 is_listening "$1" || fail "nginx did not start: $(cat "$scratch/nginx.out")"
	wait_for 5 has_workers nginx 2 || fail "nginx did not start its workers"
}

# start_apache PORT PROCESSES
start_apache() {
	apache2 -f "$scratch/apache.conf" -DFOREGROUND 2>"$scratch/apache.out" &
	started+=("$!")
	master[apache]=$!
	wait_for 5 is_listening "$1" || fail "Apache did not start: $(cat "$scratch/apache.out")"
	wait_for 5 has_workers apache "$2" || fail "Apache did not start its workers"
}

# workers_of SERVER: their pids.
workers_of() {
	grep -ls "^PPid:[[:blank:]]*${master[$1]}\$" /proc/[0-9]*/status | cut -d / -f 3
}

has_workers() {
	(($(workers_of "$1" | wc -l) == $2))
}

# load CONNECTIONS SECONDS URL [OPTION...]: wrk, whose own numbers nobody needs.
load() {
	local connections=$1 seconds=$2 url=$3
	shift 3
	timeout $((seconds + 5)) wrk -t 2 -c "$connections" -d "$seconds" "$@" "$url" \
		>"$scratch/wrk.out" || fail "wrk failed: $(cat "$scratch/wrk.out")"
}

#
# pagestay.
#

# may_watch: false, with the reason printed, where this machine does not let pagestay watch.
may_watch() {
	local code=0
	timeout 10 "$pagestay" doctor >"$scratch/doctor" 2>&1 || code=$?
	case $code in
	0) return 0 ;;
	3) printf 'skipped: pagestay lacks a privilege that watching needs: ' ;;
	4) printf 'skipped: this kernel lacks what pagestay needs: ' ;;
	*) fail "$pagestay doctor exited with $code: $(tail -n 1 "$scratch/doctor")" ;;
	esac
	grep '^Trial' "$scratch/doctor"
	return 1
}

is_watching_or_ended() {
	grep -q '^pagestay: watching' "$scratch/watch.err" || has_ended "$watcher"
}

# start_watch OPTION...: a report each second into `scratch`/watch.json. A script that holds a
# connection does so in descriptor 9, which is not for pagestay.
start_watch() {
	: >"$scratch/watch.err"
	"$pagestay" watch --json --routes --top 0 "$@" 1 >"$scratch/watch.json" 2>"$scratch/watch.err" 9>&- &
	watcher=$!
	started+=("$watcher")
	wait_for 10 is_watching_or_ended
	grep -q '^pagestay: watching' "$scratch/watch.err" ||
		fail "pagestay does not watch: $(cat "$scratch/watch.err")"
}

# End pagestay, whose last report is for what was under way.
stop_watch() {
	local code=0
	kill -INT "$watcher"
	wait_for 5 has_ended "$watcher" || fail "pagestay did not end"
	wait "$watcher" || code=$?
	check "pagestay's exit code" 0 "$code"
	check "lost" 0 "$(jq -s '[.[].lost[]] | add' "$scratch/watch.json")"
	check "complete" true "$(jq -s 'all(.complete)' "$scratch/watch.json")"
}
