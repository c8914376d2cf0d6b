# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2086,SC2154,SC2034 # the rig's constants are single words
#
# Public programs at both ends: what people run through a firewall, and what
# they judge it with.

# A certificate for both of the server's addresses, made once
certificate() {
	CERT=$DIR/tls/cert.pem KEY=$DIR/tls/key.pem
	[ -e "$CERT" ] && return
	mkdir -p "$DIR/tls/www"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
		-keyout "$KEY" -out "$CERT" -subj /CN=www.example.org -addext \
		"subjectAltName=DNS:www.example.org,IP:$SERVER,IP:$SERVER6" 2>"$DIR/tls/log"
}

web_server() {
	local i
	certificate
	head -c 20000000 /dev/urandom >"$DIR/tls/www/large"
	for i in 1 2 3 4 5 6 7 8; do head -c 30000 /dev/urandom >"$DIR/tls/www/$i"; done
	cat >"$DIR/tls/nginx.conf" <<-END
		daemon off; master_process off; user root; pid $DIR/tls/nginx.pid;
		error_log stderr;
		events { worker_connections 256; }
		http {
			access_log off; root $DIR/tls/www;
			client_body_temp_path $DIR/tls/t1; proxy_temp_path $DIR/tls/t2;
			fastcgi_temp_path $DIR/tls/t3; uwsgi_temp_path $DIR/tls/t4;
			scgi_temp_path $DIR/tls/t5;
			server {
				listen $SERVER:8443 ssl http2; listen [$SERVER6]:8443 ssl http2;
				ssl_certificate $CERT; ssl_certificate_key $KEY;
			}
		}
	END
	service up nginx -c "$DIR/tls/nginx.conf"
	wait_for 5 listening up 8443 || complain "nginx: $(tail -n 3 "$DIR/service.nginx")"
}

tls() {
	local i start rc want urls=()
	web_server
	frules 1 "action=accept $DST=$S proto=tcp dstports=8443-8443"
	fcommit 1
	fetch() {
		c1 curl -sS "-$F" --connect-timeout 3 --max-time 20 --cacert "$CERT" \
			--resolve "www.example.org:8443:$S" --resolve "www.example.org:8444:$S" "$@"
	}
	is "20 MB by HTTP/2" "$(fetch https://www.example.org:8443/large -o "$DIR/tls/got" \
		-w '%{http_version} %{http_code} %{size_download}' 2>&1)" "2 200 20000000"
	check "byte by byte" cmp "$DIR/tls/got" "$DIR/tls/www/large"
	for i in 1 2 3 4 5 6 7 8; do
		urls+=("https://www.example.org:8443/$i" -o "$DIR/tls/got.$i")
		want+=200
	done
	is "eight connections at once" \
		"$(fetch --http1.1 -Z "${urls[@]}" -w '%{http_code}' 2>/dev/null)" $want
	for i in 1 2 3 4 5 6 7 8; do
		check "the one with $i" cmp "$DIR/tls/got.$i" "$DIR/tls/www/$i"
	done
	start=$(wall_ms)
	fetch https://www.example.org:8444/1 >/dev/null 2>&1
	rc=$?
	is "what is not allowed: curl's status (7: could not connect)" $rc 7
	within "the milliseconds it took to know" $(($(wall_ms) - start)) 1000
}
both T1_https_by_curl_and_nginx tls

iperf_result() { # FILTER ARGUMENT...: of a run from c1 to S
	local filter=$1
	shift
	c1 iperf3 -c "$S" -J "$@" | jq -r "$filter"
}
iperf() {
	local both_ways='"\(.end.sum_received.bits_per_second > 1e7)
		\(.end.sum_received_bidir_reverse.bits_per_second > 1e7)"'
	is "both ways at once, four streams each" "$(iperf_result "$both_ways" -t 1 -P 4 --bidir)" \
		"true*true"
	is "UDP, per cent lost" "$(iperf_result '.end.sum.lost_percent < 2' -u -b 30M -l 1300 \
		-t 1)" true
	is "UDP from the server" "$(iperf_result '.end.sum.lost_percent < 2' -u -b 30M -l 1300 \
		-t 1 -R)" true
}
both U1_iperf3 iperf

iperf_fragments() { # U10, F1: every datagram is six fragments, one way and the other
	is "sent" "$(iperf_result '"\(.end.sum.lost_percent < 2) \(.end.sum.packets > 100)"' \
		-u -b 20M -l 8000 -t 1)" "true true"
	is "received" "$(iperf_result '"\(.end.sum.lost_percent < 2) \(.end.sum.packets > 100)"' \
		-u -b 20M -l 8000 -t 1 -R)" "true true"
}
both U10_F1_iperf3_in_fragments iperf_fragments

# --- DNS ---------------------------------------------------------------------------

name_server() {
	local i
	mkdir -p "$DIR/dns"
	{
		cat <<-END
			server:
			directory: "$DIR/dns"
			chroot: ""
			username: ""
			pidfile: ""
			use-syslog: no
			do-daemonize: no
			num-threads: 1
			max-udp-size: 4096
			edns-buffer-size: 4096
			interface: $REAL_DNS
			interface: $REAL_DNS2
			interface: $SERVER6_2
			access-control: 0.0.0.0/0 allow
			access-control: ::/0 allow
			local-zone: "example.org." static
			local-data: "www.example.org. 60 IN A $SERVER"
			local-data: "www.example.org. 60 IN AAAA $SERVER6"
			local-data: "cdn.example.org. 60 IN A $SERVER3"
		END
		for ((i = 0; i < 40; i++)); do
			echo "local-data: 'big.example.org. 60 IN TXT \"record $i of a set that is" \
				"too large for one small datagram\"'"
		done
		echo "remote-control:"
		echo "control-enable: no"
	} >"$DIR/dns/unbound.conf"
	service up unbound -d -c "$DIR/dns/unbound.conf"
	wait_for 5 listening up 53 && wait_for 5 up dig +time=1 +tries=1 @$REAL_DNS www.example.org
}

# ask SERVER ARGUMENT...: "transport records" of the answer for the large set
ask() {
	local server=$1 out
	shift
	out=$(c1 dig +time=2 +tries=1 "@$server" big.example.org TXT "$@" 2>&1)
	echo "$(sed -n 's/^;; SERVER: .*(\(...\))$/\1/p' <<<"$out")" \
		"$(grep -c '^big\.example\.org\..*IN.*TXT' <<<"$out")" \
		"$(grep -c 'flags:.* tc' <<<"$out")"
}

dig_rules() {
	rules 1 "action=accept specialtarget=dns"
	commit 1
}
dns_tools() { # R4: a small answer, a large one over TCP
	key /qubes-primary-dns $REAL_DNS
	key /qubes-secondary-dns $REAL_DNS2
	key /qubes-netvm-primary-dns $REAL_DNS
	key /qubes-netvm-secondary-dns $REAL_DNS2
	name_server
	dig_rules
	is "an address" "$(c1 dig +time=2 +tries=1 @$REAL_DNS www.example.org A +short)" $SERVER
	is "by TCP" "$(c1 dig +time=2 +tries=1 +tcp @$REAL_DNS2 www.example.org AAAA +short)" $SERVER6
	is "truncated" "$(ask $REAL_DNS +ignore +bufsize=512)" "UDP * 1"
	is "truncated, then by TCP" "$(ask $REAL_DNS +bufsize=512)" "TCP 40 0"
	is "no other server" "$(ask $SERVER +tcp)" " 0 0"
}
scenario R4_dig_and_unbound dns_tools

dns_fragments() { # U10: an answer of 3 KB in one datagram
	name_server
	if [ "$F" = 4 ]; then
		is "in fragments" "$(ask $REAL_DNS +bufsize=4096)" "UDP 40 0"
	else
		is "in fragments" "$(ask $SERVER6_2 +bufsize=4096)" "UDP 40 0"
	fi
}
both U10_dig_answer_in_fragments dns_fragments

# Virtual servers in front of real ones (2.2, R8), as a qube below this one sees them
dns_dnat() {
	key /qubes-primary-dns $REAL_DNS
	key /qubes-secondary-dns $REAL_DNS2
	name_server
	dig_rules
	is "the first" "$(c1 dig +time=2 +tries=1 @10.139.1.1 www.example.org A +short)" $SERVER
	is "the second" "$(c1 dig +time=2 +tries=1 @10.139.1.2 www.example.org A +short)" $SERVER
	is "truncated, then by TCP" "$(ask 10.139.1.1 +bufsize=512)" "TCP 40 0"
	is "the real one is what DNS may mean, too" \
		"$(c1 dig +time=2 +tries=1 @$REAL_DNS www.example.org A +short)" $SERVER
	rules 1 "action=accept dst4=10.139.1.1 proto=udp dstports=53"
	commit 1
	is "judged by the virtual address" \
		"$(c1 dig +time=2 +tries=1 @10.139.1.1 www.example.org A +short)" $SERVER
	is "not by the real one" "$(ask $REAL_DNS)" " 0 0"
	rules 1 "action=accept"
	commit 1
	is "another port is left alone" "$(c1 "$PEER" probe tcp 10.139.1.1 80)" "ok *"
	# One real server: both stand for it. None: silence (Q13 would be louder).
	no_key /qubes-secondary-dns
	db_write
	wait_for 3 sh -c "ip netns exec $NS-c1 dig +time=1 +tries=1 +short @10.139.1.2 \
		www.example.org A | grep -q $SERVER"
	is "one for both" "$(c1 dig +time=2 +tries=1 @10.139.1.2 www.example.org A +short)" $SERVER
}
scenario R8_dns_virtual_addresses dns_dnat

# R4: a name in a rule means what the client was just told it means
dns_learn() {
	key /qubes-primary-dns $REAL_DNS
	key /qubes-netvm-primary-dns $REAL_DNS
	key /vm-config/ringfence-dns-learn "$(client_ip 1) $(client_ip6 1)"
	key "/vm-config/ringfence-wildcard-$(client_ip 1)" example.org
	name_server
	rules 1 "action=accept specialtarget=dns" \
		"action=accept dsthost=www.example.org proto=tcp dstports=80-80" \
		"action=accept dsthost=example.org proto=tcp dstports=443-443"
	rules 2 "action=accept specialtarget=dns" \
		"action=accept dsthost=www.example.org proto=tcp dstports=80-80"
	commit_of "$(client_ip 1)" "$(client_ip 2)"
	is "a name that nobody asked for" "$(c1 "$PEER" probe tcp $SERVER 80)" "error EHOSTUNREACH *"
	is "the question" "$(c1 dig +time=2 +tries=1 @$REAL_DNS www.example.org A +short)" $SERVER
	is "and now" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	is "another address" "$(c1 "$PEER" probe tcp $SERVER2 80)" "error EHOSTUNREACH *"
	is "status says so" "$(source_stat 1 '| "\(.options.dns_learn) \(.options.wildcards)"')" \
		"true example.org"
	is "what it has learned, for the floor" "$(source_stat 1 'learned["www.example.org"] |
		to_entries | map("\(.key) \(.value > 590 and .value <= 600)") | join(" ")')" \
		"$SERVER true"
	is "by its wildcard, too" "$(c1 "$PEER" probe tcp $SERVER 443)" "ok *"
	is "a subdomain, before the question" "$(c1 "$PEER" probe tcp $SERVER3 443)" \
		"error EHOSTUNREACH *"
	c1 dig +time=2 +tries=1 @$REAL_DNS cdn.example.org A +short >/dev/null
	is "a subdomain of a name with the option" "$(c1 "$PEER" probe tcp $SERVER3 443)" "ok *"
	is "and only for its rule" "$(c1 "$PEER" probe tcp $SERVER3 80)" "error EHOSTUNREACH *"
	c2 dig +time=2 +tries=1 @$REAL_DNS www.example.org A +short >/dev/null
	is "a client without the option" "$(c2 "$PEER" probe tcp $SERVER 80)" "error EHOSTUNREACH *"
}
scenario R4_dsthost_learnt_from_dig dns_learn

# --- OpenVPN -------------------------------------------------------------------------

vpn_keys() {
	local who
	mkdir -p "$DIR/vpn"
	for who in server client; do
		[ -e "$DIR/vpn/$who.fp" ] && continue
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
			-keyout "$DIR/vpn/$who.key" -out "$DIR/vpn/$who.pem" -subj "/CN=$who" \
			2>"$DIR/vpn/log"
		openssl x509 -in "$DIR/vpn/$who.pem" -noout -fingerprint -sha256 |
			cut -d= -f2 >"$DIR/vpn/$who.fp"
	done
}

# vpn SERVER-PROTO CLIENT-PROTO: up, used, and down by a rule
vpn() {
	local common=(--dev-type tun --verb 3 --ping 1 --ping-restart 60)
	vpn_keys
	frules 1 "action=accept $DST=$S proto=${2:0:3} dstports=1194"
	fcommit 1
	service up openvpn --dev tun-up --proto "$1" --local "$S" --port 1194 \
		--ifconfig 10.8.0.1 10.8.0.2 --tls-server --dh none --cert "$DIR/vpn/server.pem" \
		--key "$DIR/vpn/server.key" --peer-fingerprint "$(cat "$DIR/vpn/client.fp")" \
		"${common[@]}"
	case $1 in
	tcp*) wait_for 5 listening up 1194 ;;
	*) wait_for 5 listening_udp up 1194 ;;
	esac
	rm -f "$DIR/vpn/client.log"
	service c1 openvpn --dev tun-c1 --proto "$2" --remote "$S" 1194 --nobind \
		--ifconfig 10.8.0.2 10.8.0.1 --tls-client --cert "$DIR/vpn/client.pem" \
		--key "$DIR/vpn/client.key" --peer-fingerprint "$(cat "$DIR/vpn/server.fp")" \
		--log "$DIR/vpn/client.log" "${common[@]}"
	wait_for 10 grep -q "Initialization Sequence Completed" "$DIR/vpn/client.log" ||
		complain "no tunnel: $(tail -n 3 "$DIR/vpn/client.log")"
	check "ping in the tunnel" c1 ping -c 3 -i 0.05 -W 1 -q 10.8.0.1
	is "TCP in the tunnel" "$(c1 "$PEER" probe tcp 10.8.0.1 80)" "ok *"
	is "numbered records" "$(c1 "$PEER" seq tcp 10.8.0.1 9000 500 200 |
		jq -r '"\(.received) \(.lost) \(.corrupt) \(.error)"')" "500 0 0 "
	is "nothing beside the tunnel" "$(c1 "$PEER" probe -t 500 tcp "$S" 80)" "error E* *"
}
vpn_ends() { # R6: the tunnel is a flow like any other
	frules 1 "action=drop"
	fcommit 1
	check "the tunnel is dead" sh -c "! ip netns exec $NS-c1 ping -c 2 -i 0.2 -W 0.5 -q 10.8.0.1"
}
vpn_udp() {
	if [ "$F" = 4 ]; then vpn udp4 udp4; else vpn udp6 udp6; fi
	vpn_ends
}
vpn_tcp() {
	if [ "$F" = 4 ]; then vpn tcp4-server tcp4-client; else vpn tcp6-server tcp6-client; fi
	check "large packets in the tunnel" c1 ping -c 2 -i 0.05 -W 1 -q -s 20000 10.8.0.1
	vpn_ends
}
vpn_fragments() { # U10: what is full size inside is too large outside
	if [ "$F" = 4 ]; then vpn udp4 udp4; else vpn udp6 udp6; fi
	check "full packets in the tunnel" c1 ping -c 3 -i 0.05 -W 1 -q -s 1472 10.8.0.1
	check "larger ones" c1 ping -c 3 -i 0.05 -W 1 -q -s 20000 10.8.0.1
}
both R6_openvpn_udp vpn_udp
both R6_openvpn_tcp vpn_tcp
both U10_openvpn_in_fragments vpn_fragments

# --- CalDAV ----------------------------------------------------------------------------

dav_server() {
	certificate
	rm -rf "$DIR/dav"
	mkdir -p "$DIR/dav"
	echo user:secret >"$DIR/dav/users"
	cat >"$DIR/dav/radicale.conf" <<-END
		[server]
		hosts = $SERVER:5232, [$SERVER6]:5232
		ssl = True
		certificate = $CERT
		key = $KEY
		[auth]
		type = htpasswd
		htpasswd_filename = $DIR/dav/users
		htpasswd_encryption = plain
		[storage]
		filesystem_folder = $DIR/dav/server
	END
	service up radicale --config "$DIR/dav/radicale.conf"
	wait_for 10 listening up 5232 || complain "radicale: $(tail -n 3 "$DIR/service.radicale")"
}

# dav N: one synchronisation of client N's folder, quietly when it works
dav() {
	local folder=$DIR/dav/$1 host=$S
	[ "$F" = 4 ] || host="[$S]"
	mkdir -p "$folder/work"
	cat >"$folder.conf" <<-END
		[general]
		status_path = "$folder.status/"
		[pair calendar]
		a = "here"
		b = "there"
		collections = ["work"]
		[storage here]
		type = "filesystem"
		path = "$folder/"
		fileext = ".ics"
		[storage there]
		type = "caldav"
		url = "https://$host:5232/"
		username = "user"
		password = "secret"
		verify = "$CERT"
	END
	yes | ns "c$1" timeout 20 vdirsyncer -c "$folder.conf" discover
	ns "c$1" timeout 20 vdirsyncer -c "$folder.conf" sync
}

event() { # UID TEXT
	printf '%s\r\n' BEGIN:VCALENDAR VERSION:2.0 PRODID:-//example//net//EN BEGIN:VEVENT \
		"UID:$1" DTSTAMP:20260101T000000Z DTSTART:20260102T100000Z \
		DTEND:20260102T110000Z "SUMMARY:$2" END:VEVENT END:VCALENDAR
}

caldav() {
	local i n
	dav_server
	for n in 1 2; do frules $n "action=accept $DST=$S proto=tcp dstports=5232"; done
	fcommit 1 2
	mkdir -p "$DIR/dav/1/work"
	for ((i = 0; i < 20; i++)); do event "uid-$i" "appointment $i" >"$DIR/dav/1/work/uid-$i.ics"; done
	check "upload" dav 1
	is "on the server" "$(find "$DIR/dav/server" -name 'uid-*.ics' -path '*/work/uid*' | wc -l)" 20
	check "download by another client" dav 2
	check "the same everywhere" grep -q "appointment 7" "$DIR/dav/2/work/uid-7.ics"
	event uid-7 "moved" >"$DIR/dav/2/work/uid-7.ics"
	rm "$DIR/dav/2/work/uid-8.ics"
	check "changed there" dav 2
	check "and fetched here" dav 1
	check "the change" grep -q "SUMMARY:moved" "$DIR/dav/1/work/uid-7.ics"
	check "the removal" test ! -e "$DIR/dav/1/work/uid-8.ics"
	frules 1 "action=accept $DST=$S2"
	fcommit 1
	check "without a rule there is no calendar" sh -c "! ip netns exec $NS-c1 timeout 20 \
		vdirsyncer -c '$DIR/dav/1.conf' sync"
}
both R1_caldav_by_vdirsyncer_and_radicale caldav

# --- STUN: what kind of NAT this is --------------------------------------------------------

stun_server() {
	service up turnserver -n -S -L $SERVER -L $SERVER2 --no-tls --no-dtls --no-cli -l stdout \
		-b "$DIR/turn.db" --pidfile "$DIR/turn.pid"
	wait_for 5 listening_udp up 3479 || complain "turnserver: $(tail -n 3 \
		"$DIR/service.turnserver")"
}
natdiscovery() { # N OPTION...: its last verdict
	local n=$1
	shift
	ns "c$n" timeout 30 turnutils_natdiscovery "$@" -p 3478 $SERVER 2>&1 |
		sed -n 's/^NAT with \(.*\)!$/\1/p' | tail -n 1
}
# That port of another client is in use towards both of the server's addresses.
port_in_use() {
	local a
	for a in $SERVER $SERVER2; do
		c2 "$PEER" probe -t 100 -b "$(client_ip 2):$1" udp $a 3478 >/dev/null
	done
}

stun() { # U4, U3, U7
	local filter hairpin
	stun_server
	port_in_use 40500
	c1 timeout 30 turnutils_natdiscovery -H -p 3478 $SERVER >"$DIR/hairpin" 2>&1 &
	hairpin=$!
	natdiscovery 3 -f >"$DIR/filtering" &
	filter=$!
	is "mapping" "$(natdiscovery 1 -m -L "$(client_ip 1)" -l 40500)" \
		"Address and Port Dependent Mapping"
	wait $filter $hairpin
	is "filtering" "$(cat "$DIR/filtering")" "Address and Port Dependent Filtering"
	is "hairpinning: answers, timeouts" "$(grep -c '^RFC 5780 response' "$DIR/hairpin") \
$(grep -c 'receive timeout' "$DIR/hairpin")" "1 [1-9]"
}
scenario U4_U3_stun_natdiscovery stun

stun_eim() { # U4, N10, with the option for two of three clients
	local filter other
	key /vm-config/ringfence-eim "$(client_ip 1) $(client_ip 3)"
	db_write
	stun_server
	wait_for 3 sh -c "ip netns exec $NS-up ss -Hlun 'sport = 3479' | grep -q ."
	sleep 0.3 # the key was written before; this is the daemon's time to read it
	port_in_use 40510 # what has a mapping keeps it: not the port from above
	natdiscovery 3 -f >"$DIR/filtering" &
	filter=$!
	is "mapping" "$(natdiscovery 1 -m -L "$(client_ip 1)" -l 40510)" \
		"Endpoint Independent Mapping"
	is "of a client without the option" "$(natdiscovery 2 -m -L "$(client_ip 2)" -l 40510)" \
		"*Mapping"
	wait $filter
	is "filtering stays what it was" "$(cat "$DIR/filtering")" \
		"Address and Port Dependent Filtering"
	key /vm-config/ringfence-eim all
	db_write
	sleep 0.3
	c3 "$PEER" probe -t 100 -b "$(client_ip 3):40600" udp $SERVER 3478 >/dev/null
	is "for all of them" "$(natdiscovery 2 -m -L "$(client_ip 2)" -l 40600)" \
		"Endpoint Independent Mapping"
}
scenario U4_N10_stun_endpoint_independent stun_eim
