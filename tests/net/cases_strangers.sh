# shellcheck shell=sh
# cases_strangers.sh - who may speak with a node, and who does without. Sourced by test_net.sh.

# Nodes that encrypt work together, and take no other one; without checksums they work, too.
case_encrypt() {
    node_start 1 "$CPU" "$STORE" --encrypt
    node_start 2 "$CPU" "$STORE" --encrypt
    on 1 squares || fail "squares"
    on 1 balance || fail "balance"
    node_try 3 "$CPU" "$STORE"
    case $LINE in
    error*--encrypt*) ;;
    *) fail "node 3 speaks in the clear, and hears: $LINE" ;;
    esac
    on 1 info 2 || fail "it became a member"
}

case_unchecked() {
    node_start 1 "$CPU" "$STORE" --no-checksums
    node_start 2 "$CPU" "$STORE" --no-checksums
    node_start 3 "$CPU" "$STORE"
    on 1 all_nodes 3 || fail "three nodes"
}

case_wrong_key() {
    node_start 1 "$CPU" "$STORE"
    (umask 077; printf '%064d' 7 >"$WORK/other")
    KEY=$WORK/other node_try 2 "$CPU" "$STORE"
    case $LINE in
    error*key*) ;;
    *) fail "a node with another key: '$LINE'" ;;
    esac
    node_wait 2 && fail "it did not fail"
    on 1 squares || fail "the head took harm"
}

case_no_head() {
    # shellcheck disable=SC2034 # lib.sh reads it
    i=2
    node_try 2 "$CPU" "$STORE"
    case $LINE in
    error*) ;;
    *) fail "a node without a head: '$LINE'" ;;
    esac
    node_wait 2 && fail "it did not fail"
    return 0
}

# A peer with the key talks nonsense to both nodes while they work: it is dropped each time, with one
# line in the log, and nobody else notices.
case_hostile() {
    two_nodes
    LIMIT=120 on 1 endure 6000 >"$WORK/out" &
    driver=$!
    eventually grep -q begun "$WORK/out" || fail "not begun"
    other=$(sed -n 's/.*node joined .* at \([^ ]*\) with .*/\1/p' "$WORK/node1.log" | tail -n 1)
    "$BIN/hostile_peer" "$(address 1):$PORT" "$WORK/key" "${SEED:-1}" 100 >"$WORK/hostile1" &
    one=$!
    "$BIN/hostile_peer" "$other" "$WORK/key" "${SEED:-1}" 100 >"$WORK/hostile2" &
    two=$!
    wait $one || fail "a head that does not drop a hostile peer"
    wait $two || fail "a node that does not drop a hostile peer"
    wait $driver || fail "the job suffered: $(tail -3 "$WORK/out")"
    for i in 1 2; do
        lines=$(grep -c 'malformed or not for it to say' "$WORK/node$i.log")
        echo "node $i: $(cat "$WORK/hostile$i"), $lines of them dropped in the log"
        [ "$lines" = 100 ] || fail "$lines lines in the log of node $i for 100 sessions"
        kill -0 "$(pid_of $i)" || fail "node $i is gone"
    done
    eventually on 1 info 2 || fail "hostile peers stay members"
    on 1 balance || fail "balance afterwards"
}

# rss I, files I: KiB of memory and number of open files of node I's daemon.
rss() {
    awk '/^VmRSS/ {print $2}' "/proc/$(pid_of "$1")/status"
}

files() {
    # shellcheck disable=SC2012 # they are numbers
    ls "/proc/$(pid_of "$1")/fd" | wc -l
}

# under_attack WHERE FILES: hostile clients at a socket of node 1, which goes on serving, has at most FILES
# more files open meanwhile, and none afterwards.
under_attack() {
    on 1 squares || fail "squares"
    eventually no_workers || fail "workers are left"
    files_before=$(files 1) rss_before=$(rss 1)
    "$BIN/hostile_client" "$1" crowd 1000 6000 >"$WORK/crowd" &
    crowd=$!
    "$BIN/hostile_client" "$1" loris 200 6000 >"$WORK/loris" &
    loris=$!
    "$BIN/hostile_client" "$1" garbage 2000 6000 "${SEED:-1}" >"$WORK/garbage" &
    garbage=$!
    sleep 1
    most=$(files 1)
    # shellcheck disable=SC2034 # pid_of reads it
    PID_2=
    on 1 trips "${TRIP_MS:-1000}" || fail "the node does not serve as it should"
    # Who has the key gets through: a handshake is shorter than the time until 64 others have come.
    [ "$1" != "$(address 1):$PORT" ] || node_start 2 "$CPU" "$STORE"
    for k in 1 2 3; do
        now=$(files 1)
        [ "$now" -gt "$most" ] && most=$now
        sleep 0.5
    done
    wait $crowd || fail "crowd: $(cat "$WORK/crowd")"
    wait $loris || fail "loris: $(cat "$WORK/loris")"
    wait $garbage || fail "garbage: $(cat "$WORK/garbage")"
    for k in crowd loris garbage; do
        echo "$k: $(cat "$WORK/$k")"
    done
    rss_after=$(rss 1)
    echo "files: $files_before before, at most $most under attack; memory: $rss_before KiB before, $rss_after after"
    [ "$most" -le $((files_before + $2)) ] || fail "too many files"
    # A sanitizer keeps freed memory.
    grep -q libasan "/proc/$(pid_of 1)/maps" || [ "$rss_after" -le $((rss_before + 8192)) ] || fail "too much memory"
    lines=$(wc -l <"$WORK/node1.log")
    [ "$lines" -le 100 ] || fail "$lines lines in the log, of whom anybody could make as many as he likes"
    [ -z "$(pid_of 2)" ] || on 1 balance || fail "a node that joined under attack"
    [ -z "$(pid_of 2)" ] || node_kill 2 TERM
    [ -z "$(pid_of 2)" ] || node_wait 2 || fail "node 2 did not end well"
    eventually sh -c "[ \$(ls /proc/$(pid_of 1)/fd | wc -l) -le $files_before ]" || fail "files are left open"
    on 1 squares || fail "squares after the attack"
    node_kill 1 TERM
    node_wait 1 || fail "it did not end well"
}

# Clients without the key at the node's port: 64 that prove nothing, then the oldest is dropped.
case_strangers() {
    node_start 1 "$CPU" "$STORE"
    under_attack "$(address 1):$PORT" 100
}

# Clients of the same user at the node's own socket: 256 that say nothing, then others wait.
case_clients() {
    node_start 1 "$CPU" "$STORE"
    under_attack "$WORK/node1/$(basename "$WORK"/node1/*sock*)" 300
}
