#include <algorithm>

#include "contract/contract.hpp"

namespace reconciler::contract {
namespace {

void expect(bool good, const char* what, int line) {
  if (!good) throw Broken("line " + std::to_string(line) + ": not so: " + what);
}
#define EXPECT_SO(condition) expect((condition), #condition, __LINE__)

PassStart pass(Store& store) { return store.begin_pass(); }

std::vector<Tracked> scanned(Store& store, const std::string& state) {
  std::vector<Tracked> all;
  for (Cursor cursor; !cursor.done;)
    for (Tracked& tracked : store.scan(state, cursor)) all.push_back(std::move(tracked));
  return all;
}

Tracked only(Store& store, const std::string& state) {
  std::vector<Tracked> all = scanned(store, state);
  EXPECT_SO(all.size() == 1);
  return all.front();
}

std::vector<Claim> claimed(Store& store, const Tracked& tracked, Duration lease = minutes(1)) { return store.claim(pass(store), {&tracked}, lease); }

Attempt answer(const Tracked& tracked, const Claim& claim, CommandMeaning meaning, Delivery::Outcome outcome = Delivery::Outcome::answered) {
  Attempt attempt{&tracked, claim.command_id, claim.attempt, {}, false, claim.lease};
  attempt.delivery.outcome = outcome, attempt.delivery.meaning = meaning;
  return attempt;
}

Closing closing(const Tracked& tracked, Action action, Owed owes = Owed::nothing) {
  Closing c{&tracked, {}, R"({"text": "why"})"};
  c.verdict.rule = action == Action::finalize ? "completion_proven" : "agent_gone";
  c.verdict.action = action, c.verdict.becomes = "terminated", c.verdict.owes = owes;
  c.verdict.reason = action == Action::finalize ? "user_requested" : "agent_unavailable";
  return c;
}

std::int64_t of_kind(Bench& bench, const std::string& kind) {
  const auto events = bench.events();
  return std::count_if(events.begin(), events.end(), [&](const Bench::Noted& e) { return e.kind == kind; });
}

void see(Store& store, const std::string& agent, Presence presence) {
  const Time at = store.now();
  store.update_evidence({agent}, [&](const std::string&, const std::optional<Evidence>& before) {
    Observation seen;
    seen.presence = presence, seen.at = at, seen.source = "hub", seen.instance = "i";
    return accumulate(before, seen, store.binding().limits);
  });
}

// --- scan

void a_scan_pages_through_one_state_oldest_first(Bench& b) {
  for (const char* key : {"s1", "s2", "s3"}) b.put(key, "terminating");
  b.put("s4", "running");
  const auto found = scanned(b.one(), "terminating");
  EXPECT_SO(found.size() == 3);
  for (std::size_t i = 1; i < found.size(); ++i) EXPECT_SO(found[i - 1].session.entered <= found[i].session.entered);
}

void an_episode_is_remembered(Bench& b) {
  b.put("s", "terminating");
  const Time first = only(b.one(), "terminating").episode.first_seen;
  b.advance(minutes(1));
  EXPECT_SO(only(b.other(), "terminating").episode.first_seen == first);
}

void another_agent_is_another_episode(Bench& b) {
  b.put("s", "terminating");
  const Time first = only(b.one(), "terminating").episode.first_seen;
  b.advance(minutes(1));
  b.put("s", "terminating", "b");
  EXPECT_SO(only(b.one(), "terminating").episode.first_seen > first);
}

void an_episode_ends_when_its_row_is_found_in_another_state(Bench& b) {
  b.put("s", "terminating");
  const Time first = only(b.one(), "terminating").episode.first_seen;
  b.put("s", "pending");
  b.one().forget_departed();
  b.advance(minutes(1));
  b.put("s", "terminating");
  EXPECT_SO(only(b.one(), "terminating").episode.first_seen > first);
}

void a_completed_stop_is_found_in_any_state(Bench& b) {
  b.put("s", "suspended"), b.put("t", "suspended");
  b.command("s", "stop_session");
  Cursor cursor;
  const auto found = b.one().scan_completed(cursor);
  EXPECT_SO(found.size() == 1 && found[0].session.key == "s" && found[0].commands.newest_stop);
}

void of_commands_those_of_the_sessions_own_agent_count(Bench& b) {
  b.put("s", "terminating", "b");
  b.command("s", "stop_session", "a"), b.command("s", "start_session", "a");
  CommandHistory found = only(b.one(), "terminating").commands;
  EXPECT_SO(!found.newest_stop && !found.newest_other);
  b.command("s", "stop_session", "b"), b.command("s", "start_session", "b");
  const std::string stop = only(b.one(), "terminating").commands.newest_stop.value().id;
  b.command("s", "stop_session", "a"), b.command("s", "start_session", "a");
  found = only(b.one(), "terminating").commands;
  EXPECT_SO(found.newest_stop->id == stop && found.newest_other);
  b.put("s", "terminating", std::nullopt);
  found = only(b.one(), "terminating").commands;
  EXPECT_SO(found.newest_stop->id != stop);
}

// --- claim and record

void a_lease_keeps_others_away_until_it_ends(Bench& b) {
  b.put("s", "terminating");
  EXPECT_SO(claimed(b.one(), only(b.one(), "terminating")).size() == 1);
  EXPECT_SO(claimed(b.other(), only(b.other(), "terminating")).empty());
  b.advance(minutes(2));
  EXPECT_SO(claimed(b.other(), only(b.other(), "terminating")).size() == 1);
}

void a_row_that_changed_is_not_claimed(Bench& b) {
  b.put("s", "terminating");
  const Tracked before = only(b.one(), "terminating");
  b.put("s", "terminating", "b");
  EXPECT_SO(claimed(b.one(), before).empty());
  b.remove("s");
  EXPECT_SO(claimed(b.one(), before).empty());
}

void what_is_held_is_not_claimed(Bench& b) {
  b.put("s", "terminating");
  const Tracked before = only(b.one(), "terminating");
  b.hold("s");
  EXPECT_SO(claimed(b.one(), before).empty());
}

void what_is_paused_is_not_claimed(Bench& b) {
  b.put("s", "terminating");
  const Tracked before = only(b.one(), "terminating");
  b.pause(false);
  EXPECT_SO(claimed(b.one(), before).empty());
}

void what_another_pass_has_tried_since_is_not_claimed(Bench& b) {
  b.put("s", "terminating");
  const Tracked seen_before = only(b.other(), "terminating");
  const Tracked mine = only(b.one(), "terminating");
  const auto claims = claimed(b.one(), mine);
  const Tracked seen_between = only(b.other(), "terminating");
  b.one().record(pass(b.one()), {answer(mine, claims[0], CommandMeaning::accepted)});
  EXPECT_SO(claimed(b.other(), seen_before).empty());
  EXPECT_SO(claimed(b.other(), seen_between).empty());
}

void a_key_stays_until_its_outcome_is_known(Bench& b) {
  b.put("s", "terminating");
  std::string key;
  for (const auto outcome : {Delivery::Outcome::unknown, Delivery::Outcome::not_sent, Delivery::Outcome::answered}) {
    const Tracked tracked = only(b.one(), "terminating");
    const auto claims = claimed(b.one(), tracked);
    EXPECT_SO(claims.size() == 1 && (key.empty() || claims[0].command_id == key));
    key = claims[0].command_id;
    b.one().record(pass(b.one()), {answer(tracked, claims[0], CommandMeaning::accepted, outcome)});
  }
  const auto next = claimed(b.one(), only(b.one(), "terminating"));
  EXPECT_SO(next.size() == 1 && next[0].command_id != key);
}

void only_known_answers_count_as_attempts(Bench& b) {
  b.put("s", "terminating");
  int attempts = 0;
  for (const auto meaning : {CommandMeaning::not_connected, CommandMeaning::busy, CommandMeaning::unclear, CommandMeaning::accepted, CommandMeaning::rejected}) {
    const Tracked tracked = only(b.one(), "terminating");
    b.one().record(pass(b.one()), {answer(tracked, claimed(b.one(), tracked)[0], meaning)});
    attempts += meaning == CommandMeaning::accepted || meaning == CommandMeaning::rejected;
    EXPECT_SO(only(b.one(), "terminating").episode.attempts == attempts);
  }
  EXPECT_SO(of_kind(b, "retry") == 5 && of_kind(b, "retry_result") == 5);
}

void an_answer_whose_lease_was_taken_over_changes_nothing(Bench& b) {
  b.put("s", "terminating");
  const Tracked tracked = only(b.one(), "terminating");
  const auto late = claimed(b.one(), tracked);
  b.advance(minutes(2));
  EXPECT_SO(claimed(b.other(), only(b.other(), "terminating")).size() == 1);
  b.one().record(pass(b.one()), {answer(tracked, late[0], CommandMeaning::accepted)});
  EXPECT_SO(only(b.one(), "terminating").episode.attempts == 0);
}

void the_hubs_word_about_one_episode_is_not_written_to_another(Bench& b) {
  b.put("s", "terminating");
  const Tracked tracked = only(b.one(), "terminating");
  b.put("s", "running");
  only(b.other(), "running");
  b.one().record_progress(pass(b.one()), tracked, CommandProgress::completed, SessionAnswer::unclear, "");
  b.one().record_progress(pass(b.one()), tracked, CommandProgress::unclear, SessionAnswer::gone, "");
  EXPECT_SO(!only(b.other(), "running").episode.session_gone);
}

void an_episode_is_quarantined_once(Bench& b) {
  b.put("s", "terminating");
  const Tracked tracked = only(b.one(), "terminating");
  Verdict verdict;
  verdict.action = Action::quarantine, verdict.rule = "tries_spent", verdict.reason = "timeout";
  for (Store* store : {&b.one(), &b.other()}) store->quarantine(pass(*store), tracked, verdict, "{}");
  EXPECT_SO(of_kind(b, "quarantine") == 1 && only(b.one(), "terminating").episode.quarantined);
}

void another_episode_is_not_quarantined(Bench& b) {
  b.put("s", "terminating");
  const Tracked tracked = only(b.one(), "terminating");
  b.put("s", "running");
  only(b.other(), "running");
  Verdict verdict;
  verdict.action = Action::quarantine, verdict.rule = "tries_spent", verdict.reason = "timeout";
  b.one().quarantine(pass(b.one()), tracked, verdict, "{}");
  EXPECT_SO(of_kind(b, "quarantine") == 0 && !only(b.other(), "running").episode.quarantined);
}

// --- finish

void a_closing_has_one_event_with_both_images(Bench& b) {
  b.put("s", "terminating");
  const Tracked tracked = only(b.one(), "terminating");
  const auto done = b.one().finish(pass(b.one()), {closing(tracked, Action::finalize)}, Budget::none);
  EXPECT_SO(done.closed == 1 && done.skipped == 0 && b.state_of("s") == "terminated");
  const auto events = b.events();
  EXPECT_SO(events.size() == 1 && events[0].session == "s" && events[0].kind == "finalize" && events[0].images && events[0].evidence);
}

void a_row_that_changed_is_skipped(Bench& b) {
  b.put("s", "terminating"), b.put("t", "terminating");
  const auto tracked = scanned(b.one(), "terminating");
  b.put("s", "running");
  const auto done = b.one().finish(pass(b.one()), {closing(tracked[0], Action::finalize), closing(tracked[1], Action::finalize)}, Budget::none);
  EXPECT_SO(done.closed == 1 && done.skipped == 1 && b.state_of("s") == "running" && b.state_of("t") == "terminated");
  EXPECT_SO(of_kind(b, "skipped") == 1 && of_kind(b, "finalize") == 1);
}

void a_closing_is_done_once(Bench& b) {
  b.put("s", "terminating");
  const Tracked tracked = only(b.one(), "terminating");
  for (Store* store : {&b.one(), &b.other()}) store->finish(pass(*store), {closing(tracked, Action::finalize)}, Budget::none);
  EXPECT_SO(of_kind(b, "finalize") == 1 && of_kind(b, "skipped") == 1);
}

void what_is_held_is_not_closed(Bench& b) {
  b.put("s", "terminating");
  const Tracked tracked = only(b.one(), "terminating");
  b.hold("s");
  EXPECT_SO(b.one().finish(pass(b.one()), {closing(tracked, Action::finalize)}, Budget::none).closed == 0 && b.state_of("s") == "terminating");
}

void a_pause_lets_through_what_is_proven(Bench& b) {
  b.put("s", "terminating"), b.put("t", "terminating");
  const auto tracked = scanned(b.one(), "terminating");
  b.pause(false);
  EXPECT_SO(b.one().finish(pass(b.one()), {closing(tracked[0], Action::force)}, Budget::user_requested).closed == 0);
  EXPECT_SO(b.one().finish(pass(b.one()), {closing(tracked[0], Action::finalize)}, Budget::none).closed == 1);
  b.pause(true);
  EXPECT_SO(b.one().finish(pass(b.one()), {closing(tracked[1], Action::finalize)}, Budget::none).closed == 0);
}

void two_passes_spend_from_one_budget(Bench& b) {
  for (const char* key : {"s1", "s2", "s3"}) b.put(key, "terminating");
  const auto tracked = scanned(b.one(), "terminating");
  std::int64_t closed = 0;
  for (const Tracked& t : tracked)
    for (Store* store : {&b.one(), &b.other()}) closed += store->finish(pass(*store), {closing(t, Action::force)}, Budget::user_requested).closed;
  EXPECT_SO(closed == 2);
  b.advance(minutes(11));
  EXPECT_SO(b.one().finish(pass(b.one()), {closing(tracked[2], Action::force)}, Budget::user_requested).closed == 1);
}

void a_skip_costs_nothing(Bench& b) {
  for (const char* key : {"s1", "s2", "s3"}) b.put(key, "terminating");
  const auto tracked = scanned(b.one(), "terminating");
  b.put("s1", "running");
  std::int64_t closed = 0;
  for (const Tracked& t : tracked) closed += b.one().finish(pass(b.one()), {closing(t, Action::force)}, Budget::user_requested).closed;
  EXPECT_SO(closed == 2);
}

void an_agent_that_was_seen_since_is_spared(Bench& b) {
  b.put("s", "terminating");
  const Tracked tracked = only(b.one(), "terminating");
  see(b.other(), "a", Presence::present);
  EXPECT_SO(b.one().finish(pass(b.one()), {closing(tracked, Action::force)}, Budget::user_requested).closed == 0);
}

void too_many_inferences_trip_the_brake_for_all(Bench& b) {
  b.put("s", "running");
  ForcesDue due;
  due.count = 3;
  EXPECT_SO(!b.one().may_force(pass(b.one()), due) && of_kind(b, "brake_tripped") == 1);
  due.count = 1;
  EXPECT_SO(!b.other().may_force(pass(b.other()), due) && of_kind(b, "brake_tripped") == 1);
  EXPECT_SO(b.one().peek().gates.brake_tripped);
}

void the_loss_of_every_agent_trips_the_brake_until_one_is_back(Bench& b) {
  b.put("s", "running");
  ForcesDue due;
  due.count = 1;
  for (const char* agent : {"a", "b", "c"}) see(b.one(), agent, Presence::present);
  b.advance(minutes(1));
  for (const char* agent : {"a", "b", "c"}) see(b.one(), agent, Presence::gone);
  EXPECT_SO(!b.one().may_force(pass(b.one()), due) && b.one().peek().gates.brake_tripped);
  b.advance(minutes(1));
  see(b.other(), "b", Presence::present);
  EXPECT_SO(!b.one().may_force(pass(b.one()), due) || !b.one().peek().gates.brake_tripped);
  EXPECT_SO(!b.one().peek().gates.brake_tripped && of_kind(b, "brake_reset") == 1);
}

void a_reset_outlives_a_pass_that_began_before_it(Bench& b) {
  b.put("s", "running");
  ForcesDue due;
  due.count = 3;
  b.one().may_force(pass(b.one()), due);
  const PassStart tripped = b.one().peek();  // with such gates nothing counts as due
  b.reset_brake(2);
  due.count = 0;
  EXPECT_SO(!b.one().may_force(tripped, due) && b.one().peek().gates.allowance == 2);
  EXPECT_SO(!b.other().may_force(b.other().peek(), due) || !b.other().peek().gates.brake_tripped);
  EXPECT_SO(!b.other().peek().gates.brake_tripped && b.other().peek().gates.allowance == 0);
}

// --- what is owed

void a_stop_that_is_owed_is_settled_by_its_acceptance(Bench& b) {
  b.put("s", "running");
  const Tracked tracked = only(b.one(), "running");
  see(b.one(), "a", Presence::gone);
  EXPECT_SO(b.one().finish(pass(b.one()), {closing(tracked, Action::force, Owed::stop)}, Budget::none).closed == 1);
  Cursor cursor;
  const auto owed = b.one().scan_owed(cursor);
  EXPECT_SO(owed.size() == 1 && owed[0].episode.owed == Owed::stop && owed[0].session.state == "terminated");
  const auto claims = claimed(b.one(), owed[0]);
  b.one().record(pass(b.one()), {answer(owed[0], claims[0], CommandMeaning::accepted)});
  Cursor again;
  EXPECT_SO(b.one().scan_owed(again).empty() && of_kind(b, "late_report") == 1);
}

std::vector<Tracked> owed(Store& store) {
  Cursor cursor;
  return store.scan_owed(cursor);
}

// A start that was claimed, and of which nobody knows what became.
void start(Bench& b) {
  b.put("s", "pending");
  const Tracked tracked = only(b.one(), "pending");
  const auto claims = claimed(b.one(), tracked);
  EXPECT_SO(claims.size() == 1);
  b.one().record(pass(b.one()), {answer(tracked, claims[0], CommandMeaning::unclear, Delivery::Outcome::unknown)});
}

void the_proven_end_of_a_session_that_we_started_owes_a_stop(Bench& b) {
  start(b);
  b.put("s", "terminating");
  b.one().forget_departed();
  const Tracked tracked = only(b.one(), "terminating");
  EXPECT_SO(tracked.episode.tries == 0);
  EXPECT_SO(b.one().finish(pass(b.one()), {closing(tracked, Action::finalize)}, Budget::none).closed == 1);
  b.one().forget_departed();
  const auto after = owed(b.one());
  EXPECT_SO(after.size() == 1 && after[0].episode.owed == Owed::stop && after[0].session.state == "terminated");
  // Sent at once, it might get there before the start.
  EXPECT_SO(after[0].episode.next_attempt && *after[0].episode.next_attempt > b.one().now() && *after[0].episode.next_attempt <= b.one().now() + start_arrives_within);
}

void an_end_that_the_application_writes_over_our_start_owes_a_stop(Bench& b) {
  start(b);
  b.put("s", "terminated");
  b.one().forget_departed();
  b.other().forget_departed();
  EXPECT_SO(owed(b.other()).size() == 1 && owed(b.other())[0].episode.owed == Owed::stop);
}

void a_start_is_remembered_while_the_session_goes_on(Bench& b) {
  start(b);
  b.put("s", "hibernated");
  for (int i = 0; i < 2; ++i) b.advance(minutes(10)), b.one().forget_departed();
  EXPECT_SO(owed(b.one()).empty());
  b.put("s", "terminated");
  b.one().forget_departed();
  EXPECT_SO(owed(b.one()).size() == 1);
}

void a_start_is_forgotten_after_a_day_with_its_row_or_with_another_agent(Bench& b) {
  start(b);
  b.put("s", "hibernated");
  b.one().forget_departed();
  b.advance(hours(25));
  b.put("s", "terminated");
  b.one().forget_departed();
  EXPECT_SO(owed(b.one()).empty());
  start(b);
  b.put("s", "hibernated", "b");
  b.one().forget_departed();
  b.put("s", "terminated", "b");
  b.one().forget_departed();
  EXPECT_SO(owed(b.one()).empty());
  start(b);
  b.remove("s");
  b.one().forget_departed();
  b.put("s", "terminated");
  b.one().forget_departed();
  EXPECT_SO(owed(b.one()).empty());
}

void a_proven_end_owes_nothing(Bench& b) {
  b.put("s", "terminating");
  const Tracked tracked = only(b.one(), "terminating");
  claimed(b.one(), tracked);
  EXPECT_SO(b.one().finish(pass(b.one()), {closing(tracked, Action::finalize)}, Budget::none).closed == 1);
  EXPECT_SO(owed(b.one()).empty());
}

void what_is_owed_is_forgotten_after_a_day(Bench& b) {
  b.put("s", "running");
  const Tracked tracked = only(b.one(), "running");
  b.one().finish(pass(b.one()), {closing(tracked, Action::force, Owed::stop)}, Budget::none);
  b.advance(hours(25));
  b.one().forget_departed();
  Cursor cursor;
  EXPECT_SO(b.one().scan_owed(cursor).empty());
}

void a_session_that_still_runs_is_taken_back_as_it_was(Bench& b) {
  b.put("s", "running");
  const Tracked tracked = only(b.one(), "running");
  b.one().finish(pass(b.one()), {closing(tracked, Action::force, Owed::readopt)}, Budget::none);
  Cursor cursor;
  const auto owed = b.one().scan_owed(cursor);
  EXPECT_SO(owed.size() == 1 && owed[0].episode.owed == Owed::readopt);
  b.one().settle_late(pass(b.one()), owed[0], SessionAnswer::running);
  EXPECT_SO(b.state_of("s") == "running");
  const auto events = b.events();
  EXPECT_SO(events.back().kind == "late_report" && events.back().reason == "readopted" && events.back().images);
}

// --- pools

// What its pass has judged: "b" is to get it, with that command.
Tracked to_the_other(Tracked tracked, const char* command) {
  Verdict verdict;
  verdict.rule = "sibling_due", verdict.action = Action::reassign, verdict.reason = "agent_unavailable", verdict.to_agent = "b", verdict.sends = command;
  tracked.goes_to = {"b", verdict, R"({"text": "why"})"};
  return tracked;
}

std::int64_t load_of(Bench& b, const std::string& agent, int pool) {
  for (const Taker& taker : b.one().takers(pool, 10))
    if (taker.id == agent) return taker.load;
  throw Broken(agent + " takes no sessions");
}

// As a pass does when it begins.
void count(Bench& b) {
  b.advance(seconds(30));
  pass(b.other()), b.other().refresh_registry();
}

void another_agent_gets_nothing_while_a_hub_is_new(Bench& b) {
  b.pool();
  b.instance_grace(minutes(2));
  b.put("s", "pending"), b.command("s", "start_session");
  const Tracked tracked = to_the_other(only(b.one(), "pending"), start_session);
  const PassStart begun = pass(b.one());  // before the hub has answered
  b.one().note_instance("new", b.one().now());
  EXPECT_SO(b.one().claim(begun, {&tracked}, minutes(1)).empty());
  b.advance(minutes(2));
  EXPECT_SO(claimed(b.one(), tracked).size() == 1);
}

void a_place_is_kept_for_a_command_on_its_way(Bench& b) {
  const int pool = b.pool();
  b.put("s", "pending"), b.command("s", "start_session");
  const Tracked tracked = to_the_other(only(b.one(), "pending"), start_session);
  const auto claims = claimed(b.one(), tracked);
  EXPECT_SO(claims.size() == 1 && load_of(b, "b", pool) == 1);
  count(b);
  EXPECT_SO(load_of(b, "b", pool) == 1);
  b.one().record(pass(b.one()), {answer(tracked, claims[0], CommandMeaning::not_connected)});
  EXPECT_SO(load_of(b, "b", pool) == 0);
}

void a_place_is_given_back_once(Bench& b) {
  const int pool = b.pool();
  b.put("s", "pending"), b.command("s", "start_session");
  const Tracked tracked = to_the_other(only(b.one(), "pending"), start_session);
  const auto claims = claimed(b.one(), tracked);
  // Its end is noticed, and the sessions of "b" are counted, before the answer comes.
  b.put("s", "terminated"), b.other().forget_departed();
  b.put("t", "running", "b");
  count(b);
  EXPECT_SO(load_of(b, "b", pool) == 1);
  b.one().record(pass(b.one()), {answer(tracked, claims[0], CommandMeaning::accepted)});
  EXPECT_SO(load_of(b, "b", pool) == 1);
}

void a_place_goes_with_its_lease(Bench& b) {
  const int pool = b.pool();
  b.put("s", "pending"), b.command("s", "start_session");
  const Tracked tracked = to_the_other(only(b.one(), "pending"), start_session);
  const auto claims = claimed(b.one(), tracked, seconds(10));
  b.put("t", "running", "b");
  count(b);
  EXPECT_SO(load_of(b, "b", pool) == 1);
  b.one().record(pass(b.one()), {answer(tracked, claims[0], CommandMeaning::accepted)});
  EXPECT_SO(load_of(b, "b", pool) == 1 && of_kind(b, "reassign") == 0);
  EXPECT_SO(only(b.one(), "pending").episode.sent_to == "b");  // the next pass gives it there, if there is room
}

void who_has_taken_over_during_a_pause_gets_the_session_after_it(Bench& b) {
  b.pool();
  b.put("s", "terminating");
  const Tracked tracked = to_the_other(only(b.one(), "terminating"), "stop_session");
  const auto claims = claimed(b.one(), tracked);
  b.pause(false);
  b.one().record(pass(b.one()), {answer(tracked, claims.at(0), CommandMeaning::accepted)});
  const Tracked after = only(b.one(), "terminating");
  EXPECT_SO(of_kind(b, "reassign") == 0 && after.session.agent == "a" && after.episode.sent_to == "b" && after.episode.accepted_at);
}

void a_stop_goes_to_a_full_agent(Bench& b) {
  const int pool = b.pool();
  for (const char* key : {"s1", "s2", "s3", "s4", "s5"}) b.put(key, "running", "b");
  count(b);
  b.put("s", "terminating");
  const Tracked tracked = to_the_other(only(b.one(), "terminating"), "stop_session");
  EXPECT_SO(load_of(b, "b", pool) == 5);
  const auto claims = claimed(b.one(), tracked);
  EXPECT_SO(claims.size() == 1);
  b.one().record(pass(b.one()), {answer(tracked, claims[0], CommandMeaning::accepted)});
  EXPECT_SO(of_kind(b, "reassign") == 1 && only(b.one(), "terminating").session.agent == "b" && load_of(b, "b", pool) == 5);
  count(b);
  EXPECT_SO(load_of(b, "b", pool) == 5);
}

std::vector<Tracked> planned(Store& store) {
  Cursor cursor;
  return store.scan_planned(cursor, 10);
}

Handover as_planned(const Tracked& tracked) {
  Handover move{&tracked, {}, R"({"text": "why"})"};
  move.verdict.rule = "planned_move", move.verdict.action = Action::reassign, move.verdict.reason = "rebalanced", move.verdict.to_agent = tracked.planned->to_agent;
  return move;
}

void a_plan_stands_until_it_is_carried_out(Bench& b) {
  const int pool = b.pool();
  b.put("s", "running");
  count(b);
  b.plan("s", "a", "b");
  EXPECT_SO(planned(b.one()).size() == 1);
  const auto again = planned(b.other());  // the pass that looked at it first vanished
  EXPECT_SO(again.size() == 1 && again[0].planned->to_agent == "b" && again[0].planned->actor == "operator");
  EXPECT_SO(b.other().hand_over(pass(b.other()), {as_planned(again[0])}).closed == 1);
  EXPECT_SO(planned(b.one()).empty() && only(b.one(), "running").session.agent == "b" && load_of(b, "b", pool) == 1 && load_of(b, "a", pool) == 0);
}

void a_plan_ends_when_its_session_has_another_agent(Bench& b) {
  b.pool();
  b.put("s", "running"), b.put("t", "running");
  b.plan("s", "a", "b"), b.plan("t", "a", "b");
  b.put("s", "running", "b");
  const auto left = planned(b.one());
  EXPECT_SO(left.size() == 1 && left[0].session.key == "t");
  b.one().forget_planned({&left[0]});
  b.put("s", "running", "a");
  EXPECT_SO(planned(b.one()).empty());
}

void a_session_that_is_taken_back_takes_its_place(Bench& b) {
  const int pool = b.pool();
  b.put("s", "running");
  const Tracked tracked = only(b.one(), "running");
  b.one().finish(pass(b.one()), {closing(tracked, Action::force, Owed::readopt)}, Budget::none);
  count(b);
  EXPECT_SO(load_of(b, "a", pool) == 0);
  b.one().settle_late(pass(b.one()), owed(b.one()).at(0), SessionAnswer::running);
  EXPECT_SO(b.state_of("s") == "running" && load_of(b, "a", pool) == 1);
}

// --- evidence

void evidence_of_two_passes_adds_up(Bench& b) {
  for (Store* store : {&b.one(), &b.other(), &b.one()}) see(*store, "a", Presence::gone), b.advance(minutes(1));
  const auto record = b.other().evidence({"a", "nobody"});
  EXPECT_SO(record.size() == 1 && record.at("a").gone_observations == 3 && record.at("a").gone_time >= minutes(2));
}

// What several say of a runtime is kept for each of them, and what one says adds up whichever pass hears it.
void evidence_of_a_runtime_is_kept_by_source(Bench& b) {
  const auto says = [](Store& store, const char* source, Presence presence) {
    const Time at = store.now();
    store.update_runtime_evidence(source, {"pod"}, [&](const std::string&, const std::optional<Evidence>& before) {
      Observation seen;
      seen.presence = presence, seen.at = at, seen.source = source, seen.stated = at;
      Evidence after = accumulate(before, seen, store.binding().limits);
      after.backend = "vm";
      return after;
    });
  };
  for (Store* store : {&b.one(), &b.other(), &b.one()}) says(*store, "kube", Presence::gone), b.advance(minutes(1));
  says(b.other(), "watch", Presence::present);
  const auto said = b.one().runtime_evidence({"pod", "nobody"});
  EXPECT_SO(said.size() == 1 && said.at("pod").size() == 2);
  const Evidence &kube = said.at("pod")[0], &watch = said.at("pod")[1];
  EXPECT_SO(kube.last.source == "kube" && kube.backend == "vm" && kube.gone_observations == 3 && kube.gone_time >= minutes(2));
  EXPECT_SO(kube.last.stated && !kube.last_present);
  EXPECT_SO(watch.last.source == "watch" && watch.last.presence == Presence::present && watch.last_present && watch.gone_observations == 0);
}

void an_instance_answers_since_its_silence(Bench& b) {
  const Time first = b.one().note_instance("i", b.one().now());
  b.advance(minutes(9));
  EXPECT_SO(b.other().note_instance("i", b.other().now()) == first);
  b.advance(minutes(11));
  EXPECT_SO(b.one().note_instance("i", b.one().now()) > first);
}

void agents_that_were_present_lately_are_known(Bench& b) {
  see(b.one(), "a", Presence::present);
  EXPECT_SO(b.other().lately_present() == std::vector<std::string>{"a"});
  b.advance(minutes(31));
  EXPECT_SO(b.other().lately_present().empty());
}

}  // namespace

const std::vector<Case>& cases() {
#define CASE(name) Case{#name, name}
  static const std::vector<Case> all{
      CASE(a_scan_pages_through_one_state_oldest_first),
      CASE(an_episode_is_remembered),
      CASE(another_agent_is_another_episode),
      CASE(an_episode_ends_when_its_row_is_found_in_another_state),
      CASE(a_completed_stop_is_found_in_any_state),
      CASE(of_commands_those_of_the_sessions_own_agent_count),
      CASE(a_lease_keeps_others_away_until_it_ends),
      CASE(a_row_that_changed_is_not_claimed),
      CASE(what_is_held_is_not_claimed),
      CASE(what_is_paused_is_not_claimed),
      CASE(what_another_pass_has_tried_since_is_not_claimed),
      CASE(a_key_stays_until_its_outcome_is_known),
      CASE(only_known_answers_count_as_attempts),
      CASE(an_answer_whose_lease_was_taken_over_changes_nothing),
      CASE(the_hubs_word_about_one_episode_is_not_written_to_another),
      CASE(an_episode_is_quarantined_once),
      CASE(another_episode_is_not_quarantined),
      CASE(a_closing_has_one_event_with_both_images),
      CASE(a_row_that_changed_is_skipped),
      CASE(a_closing_is_done_once),
      CASE(what_is_held_is_not_closed),
      CASE(a_pause_lets_through_what_is_proven),
      CASE(two_passes_spend_from_one_budget),
      CASE(a_skip_costs_nothing),
      CASE(an_agent_that_was_seen_since_is_spared),
      CASE(too_many_inferences_trip_the_brake_for_all),
      CASE(the_loss_of_every_agent_trips_the_brake_until_one_is_back),
      CASE(a_reset_outlives_a_pass_that_began_before_it),
      CASE(a_stop_that_is_owed_is_settled_by_its_acceptance),
      CASE(the_proven_end_of_a_session_that_we_started_owes_a_stop),
      CASE(an_end_that_the_application_writes_over_our_start_owes_a_stop),
      CASE(a_start_is_remembered_while_the_session_goes_on),
      CASE(a_start_is_forgotten_after_a_day_with_its_row_or_with_another_agent),
      CASE(a_proven_end_owes_nothing),
      CASE(what_is_owed_is_forgotten_after_a_day),
      CASE(a_session_that_still_runs_is_taken_back_as_it_was),
      CASE(another_agent_gets_nothing_while_a_hub_is_new),
      CASE(a_place_is_kept_for_a_command_on_its_way),
      CASE(a_place_is_given_back_once),
      CASE(a_place_goes_with_its_lease),
      CASE(who_has_taken_over_during_a_pause_gets_the_session_after_it),
      CASE(a_stop_goes_to_a_full_agent),
      CASE(a_plan_stands_until_it_is_carried_out),
      CASE(a_plan_ends_when_its_session_has_another_agent),
      CASE(a_session_that_is_taken_back_takes_its_place),
      CASE(evidence_of_two_passes_adds_up),
      CASE(evidence_of_a_runtime_is_kept_by_source),
      CASE(an_instance_answers_since_its_silence),
      CASE(agents_that_were_present_lately_are_known)};
#undef CASE
  return all;
}

}  // namespace reconciler::contract
