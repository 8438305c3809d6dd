# shellcheck shell=sh
# cases_programs.sh - executables that do not run on another node. Sourced by test_net.sh.

# only_here REASON [ARGUMENT]: workers of a driver on node 1 do not start on node 2. It is told why, once
# and with the node, and its tasks run on node 1.
only_here() {
    on 1 only_here ${2:+"$2"} >"$WORK/out" 2>"$WORK/err" || fail "only_here: $(cat "$WORK/err")"
    line=$(grep 'does not run on node' "$WORK/err")
    echo "$line"
    [ "$(echo "$line" | wc -l)" = 1 ] || fail "said more than once"
    id=$(sed -n 's/.*node started id \([0-9a-f]*\) .*/\1/p' "$WORK/node2.log")
    echo "$line" | grep -q "($id): " || fail "the line does not name node $id"
    echo "$line" | grep -q "$1" || fail "the line does not say '$1'; all of it: $(cat "$WORK/err")"
    grep -q 'on 1 nodes' "$WORK/out" || fail "$(cat "$WORK/out")"
}

case_no_library() {
    two_nodes
    mkdir "$WORK/lib" && cp "$BUILD/lib/net/libnet_library.so" "$WORK/lib"
    PROGRAM=net_driver_library
    export LD_LIBRARY_PATH="$WORK/lib"
    only_here 'libnet_library.so: cannot open shared object file'
    # shellcheck disable=SC2034 # lib.sh reads it
    PROGRAM=net_driver
    on 1 balance || fail "other programs do not run on both any more"
}

# An illegal instruction before mob_init(), there alone.
case_crash() {
    two_nodes
    : >"$WORK/here"
    only_here 'killed by signal [45] .*before mob_init' "$WORK/here"
    on 1 balance || fail "the program's other runs suffer"
}

# The executable there is one for another machine: it lies in the cache under the name of this one.
case_other_machine() {
    two_nodes
    cache=$WORK/home2/.cache/mobula
    mkdir -p "$WORK/home2/.cache" && mkdir -m 700 "$cache"
    other=$cache/$(b2sum -l 256 "$BIN/net_driver" | cut -d ' ' -f 1)
    cp "$BIN/net_driver" "$other"
    printf '\363\000' | dd of="$other" bs=1 seek=18 conv=notrunc status=none # RISC-V
    only_here 'the program is built for RISC-V, and this node is '
    rm "$other"
    on 1 balance || fail "it does not run on both with the right executable"
}
