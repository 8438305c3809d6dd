# The scheduler with one fault each: the simulator must see it in some history. They are built and run by the test
# sim_mutants alone. sim_mutant(NAME FILE FIND PUT [ARGS of the run that finds it]...)
set(mutants "")

function(sim_mutant name file find put)
  set(source ${CMAKE_CURRENT_BINARY_DIR}/mutant_${name}.c)
  set(script ${CMAKE_CURRENT_BINARY_DIR}/mutant_${name}.cmake)
  file(CONFIGURE OUTPUT ${script} @ONLY CONTENT
"set(find [==[@find@]==])
set(put [==[@put@]==])
set(in @PROJECT_SOURCE_DIR@/scheduler/@file@)
set(out @source@)
include(@CMAKE_CURRENT_SOURCE_DIR@/mutate.cmake)
")
  add_custom_command(OUTPUT ${source} COMMAND ${CMAKE_COMMAND} -P ${script} VERBATIM
    DEPENDS ${PROJECT_SOURCE_DIR}/scheduler/${file} ${script} ${CMAKE_CURRENT_SOURCE_DIR}/mutate.cmake)
  add_executable(sim_mutant_${name} EXCLUDE_FROM_ALL ${source} $<TARGET_OBJECTS:sim_world>)
  target_include_directories(sim_mutant_${name} PRIVATE ${PROJECT_SOURCE_DIR}/scheduler
    ${PROJECT_SOURCE_DIR}/scheduler/include ${PROJECT_SOURCE_DIR}/core/include)
  target_compile_options(sim_mutant_${name} PRIVATE -w)
  target_link_libraries(sim_mutant_${name} PRIVATE mob_flags sim_planners)
  string(REPLACE ";" " " args "${ARGN}")
  set(mutants ${mutants} "${name} ${args}" PARENT_SCOPE)
  set(mutant_targets ${mutant_targets} sim_mutant_${name} PARENT_SCOPE)
endfunction()

# ---- epochs: a stale word counts
sim_mutant(head_takes_stale head_said.c "epoch != l->epoch || slots > l->slots" "slots > l->slots")
sim_mutant(node_takes_stale node_peers.c "l && in->epoch < l->epoch" "false")
sim_mutant(owner_takes_stale node_peers.c "g && (epoch < g->epoch ||" "g && (false ||")
sim_mutant(same_epoch head_lease.c "        l->epoch++;\n        if (l->slots < l->told)" "        if (l->slots < l->told)")

# ---- one CPU for two
sim_mutant(double_slot node_decide.c "    if (!resources_fit(&free, &c->demand.need)) {\n        return false;" "    if (false) {\n        return false;")
sim_mutant(double_grant head_lease.c "    if (l->counted < slots) {" "    if (false) {")
sim_mutant(tells_first head_lease.c "        head_say_lease(h, l);\n    }\n    h->dirty_count"
  "        head_say_lease(h, l);\n        if (l->slots > l->told) {\n            l->told = l->slots;\n            head_say_grant(h, l);\n        }\n    }\n    h->dirty_count")

# ---- words that are not repeated after a break
sim_mutant(lease_not_repeated head_plan.c "        head_say_lease(h, l);\n    }\n    h->config" "    }\n    h->config")
sim_mutant(grant_not_repeated head_plan.c "            if (l->told > 0) {\n                head_say_grant(h, l);\n            }" "" --faults --nodes 18 --seed 70)
sim_mutant(offer_not_repeated node_peers.c "    p->head_up = true;\n    p->offer_known = false;" "    p->head_up = true;" --faults --nodes 12)
sim_mutant(demand_not_repeated node_peers.c "        c->want_sent =\n            0;" "")
sim_mutant(unsaid_demand_stays head_plan.c "        d->void_at = now + PLAN_UNUSED_NS;" "" --seed 50)
sim_mutant(unsaid_lease_stays node_peers.c "        if (p->leases[i].sync != p->sync) {" "        if (false) {" --seed 20)

# ---- what must come to an end
sim_mutant(end_not_answered node_decide.c "            l->settling = false;\n            node_say_held(p, l);" "            l->settling = false;")
sim_mutant(asked_back_for_ever node_events.c "        c->taking--;" "")

# ---- kinds, labels, priorities
sim_mutant(node_forgets_labels node_events.c "              selector_match(demand->selector, p->config.labels);" "              true;" --kinds)
sim_mutant(short_kind_blocks_all node_report.c "        offer->amount[k] = few ? 0 : offer->amount[k];" "        offer->amount[k] = 0u * few;" --kinds --seed 32)

# ---- who waits for ever
sim_mutant(not_resumed node_decide.c "            node_act(p, PLAN_RESUME, j, c, 1);" "")
sim_mutant(nothing_kept node_decide.c "now >= since + PLAN_RESERVE_NS" "false" --no-faults --nodes 2)
sim_mutant(no_turns_at_head head_place.c "take_from_lower(h) || take_turns(h, waits)" "take_from_lower(h)" --rivals)
sim_mutant(given_back_at_once share.c "(ns / NS_PER_US)) - s->deficit" "(ns / NS_PER_US))" --rivals --seed 675)
sim_mutant(weights_are_absolute share.c "SHARE_CPU(quantum_ns) / turn_weight(from, to)" "SHARE_CPU(quantum_ns)" --rivals --nodes 2)
sim_mutant(taken_in_vain node_room.c "if (!from || !resources_fit(&reach, &c->demand.need)) {" "if (!from) {" --seed 167)
sim_mutant(no_turns_on_node node_room.c "        if (c->tried && c->cost > 0 && class_is_native(p, j, c) && !class_grouped(c)) {" "        if (false) {" --rivals --nodes 2 --seed 5)
sim_mutant(natives_do_not_cut node_room.c "    if (cut) {\n        node_cut_leases(p);\n    }" "    (void)cut;" --streams --nodes 3)
sim_mutant(idle_is_kept node_room.c "    take_idle(p, &lacks, &soon, now);" "" --kinds --no-faults --nodes 5)

# ---- groups
sim_mutant(keeps_before_all_hold head_group.c "        if (!x || x->word.state == PLAN_HOLD_WANT) {\n            return;" "        if (!x) {\n            return;" --groups)
sim_mutant(end_of_hold_forgotten head_hold.c "    head_hold_state(h, x, PLAN_HOLD_END);\n    head_say_hold(h, x);" "    head_hold_state(h, x, PLAN_HOLD_END);" --groups)
sim_mutant(kept_forgotten head_group.c "        if (node != INDEX_NONE && !known &&" "        if (false && !known &&" --groups --faults)
sim_mutant(hold_free_twice node_hold.c "        resources_add(&p->free, &word.need, 1);" "        resources_add(&p->free, &word.need, 2);" --groups)
sim_mutant(said_groups_end head_group.c " == n && g->unsaid) {" " == n) {" --groups --faults)
sim_mutant(strict_spread_shares head_fit.c "(alone && there[at] > 0)" "false" --groups)
sim_mutant(held_is_repeated head_hold.c "    if (word.state == PLAN_HOLD_HELD) {" "    if (false) {" --groups --faults)
sim_mutant(group_not_resumed node_inside.c "if (class_grouped(c) && c->resuming > 0) {" "if (false) {" --groups --workload nested --nodes 6)
sim_mutant(runs_outside_of_hold node_hold.c "    if (c->demand.bundle) {\n        struct resources one" "    if (false) {\n        struct resources one" --groups)

# ---- classes of groups that were removed
sim_mutant(ends_in_use node_events.c "    if (in_use(p, c)) {" "    if (false) {" --groups)
sim_mutant(ended_demand_stays node_events.c "        node_act(p, PLAN_DEMAND, j, c, 0);\n    }\n    *c = no_class;" "    }\n    *c = no_class;" --groups)

add_custom_target(sim_mutants DEPENDS ${mutant_targets})
string(REPLACE ";" "\n" mutants "${mutants}")
file(GENERATE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/mutants.txt CONTENT "${mutants}\n")
