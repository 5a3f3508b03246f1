#include "engine/pass.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/rules.hpp"
#include "core/text.hpp"
#include "engine/facts.hpp"

namespace reconciler {

// What one batch of verdicts asks for. Pointers are into the batch that handle() owns.
struct Pass::Batch {
  std::vector<Closing> finalize, force_user, force_inferred, would;
  std::vector<const Tracked*> newly_stuck, met, stays;
  std::vector<Handover> hand_over;
  std::vector<Tracked*> retry;
};

namespace {

constexpr std::size_t most_retries = 2000;

// Whether the agent's evidence can matter to the verdict now: a fresh or held session asks nobody.
bool needs_evidence(const Binding& binding, const Tracked& tracked, Time now) {
  if (!tracked.session.agent) return false;
  if (tracked.hold && tracked.hold->until > now) return false;
  if (tracked.episode.owed != Owed::nothing || tracked.leaves || tracked.planned) return true;
  const Policy* policy = binding.policy(tracked.session.state);
  if (!policy || !policy->enabled || policy->judged_by != JudgedBy::agent) return false;
  return !policy->stuck_after || tracked.episode.retry_requested ||
         now - tracked.episode.entered >= *policy->stuck_after;
}

}  // namespace

void Pass::due_at(std::optional<Time> at) {
  if (at && (!end_.next_due || *at < *end_.next_due)) end_.next_due = at;
}

void ForcesDue::add(const Session& session, const Verdict& verdict) {
  ++count, ++by_state[session.state], ++by_reason[verdict.reason];
  if (session.agent) ++by_agent[*session.agent];
  if (samples.size() < 10) samples.push_back(session.key);
}

// Unknown agents are asked about again soon. But looking at a million sessions again takes a core for many seconds: with
// many of them it comes later, an interval at the latest.
Duration Pass::until_asked_again() const {
  const EvidenceLimits& limits = store_.binding().limits;
  return std::max(limits.observation_spacing, std::min(limits.interval, limits.observation_spacing + Duration(100) * end_.scanned));
}

PassEnd Pass::run(bool ask_again) {
  // A CALL is one whole pass; the worker has other tables, and comes back.
  most_waiting_ = ask_again ? hours(1) : seconds(10);
  const AgentHub::Totals before = hub_ ? hub_->totals() : AgentHub::Totals{};
  start_ = store_.begin_pass();
  if (start_.gates.safe_mode || !start_.gates.version_fits) {
    store_.end_pass(start_, end_);
    return end_;
  }
  try {
    store_.forget_departed();
    refresh_registry();
    if (may_ask()) observer_.look_at_runtimes();
    sweep_owed();  // first: what this pass closes is owed to agents that it has just missed
    occupied_ = store_.occupied();
    sweep_policies(Sweep::all_but_inferred_forces);
    sweep_completed();
    sweep_leaving();
    force_inferred();
    finish_orphans();
    if (ask_again && (!unknown_agents_.empty() || unknown_runtimes_) && hub_) {
      waiter_.wait(-1, store_.binding().limits.observation_spacing);
      observer_.forget(unknown_agents_);
      unknown_agents_.clear();
      if (std::exchange(unknown_runtimes_, false) && may_ask()) observer_.look_at_runtimes();
      // The second look replaces what the first one counted.
      forces_due_ = {}, end_.scanned = 0, end_.stuck = 0;
      end_.stuck_by_state.clear();
      sweep_policies(Sweep::all_but_inferred_forces);
      force_inferred();
    }
  } catch (const std::exception& failure) {
    end_.error = failure.what();
    // The pass ended, badly but by itself: only one that never ends counts as a crash.
    store_.end_pass(start_, end_);
    throw;
  }
  if ((!unknown_agents_.empty() && hub_) || unknown_runtimes_) due_at(store_.now() + until_asked_again());
  if (observer_.asked_hub()) end_.hub_up = observer_.hub_answered();
  end_.hub_unauthorized = observer_.unauthorized();
  if (hub_) {
    const AgentHub::Totals totals = hub_->totals();
    end_.hub_requests = totals.requests - before.requests, end_.hub_failed = totals.failed - before.failed;
    end_.hub_time = totals.time - before.time;
  }
  store_.end_pass(start_, end_);
  return end_;
}

void Pass::sweep_policies(Sweep sweep) {
  for (const Policy& policy : store_.binding().policies) {
    if (!policy.enabled || !occupied_.contains(policy.state)) continue;
    if (sweep == Sweep::inferred_forces_only && policy.user_requested) continue;
    Cursor cursor;
    bool ahead = false;
    while (!cursor.done) {
      std::vector<Tracked> batch = store_.scan(policy.state, cursor);
      if (!ahead && static_cast<int>(batch.size()) >= store_.binding().batch_size) ahead = look_ahead(policy.state);
      if (!batch.empty()) handle(batch, sweep);
    }
    send_retries();
  }
}

// More than one batch of sessions: their agents are asked about together. A hub that lists its agents would else
// be asked for the whole list once a batch.
bool Pass::look_ahead(const std::string& state) {
  constexpr std::int64_t most = 10000;
  if (hub_ && hub_->profile().can_list() && may_ask()) {
    const std::vector<std::string> ids = store_.agents_of(state, most);
    observer_.look({ids.begin(), ids.end()});
  }
  return true;
}

void Pass::sweep_completed() {
  if (!store_.binding().commands_table) return;
  Cursor cursor;
  while (!cursor.done) {
    std::vector<Tracked> batch = store_.scan_completed(cursor);
    if (!batch.empty()) handle(batch, Sweep::all_but_inferred_forces);
  }
}

// Agents that are being emptied: their sessions go to others, whatever state nothing is sent for they are in.
void Pass::sweep_leaving() {
  if (!store_.binding().pools) return;
  Cursor cursor;
  while (!cursor.done) {
    std::vector<Tracked> batch = store_.scan_leaving(cursor);
    if (!batch.empty()) handle(batch, Sweep::leaving);
  }
  store_.note_drained(start_);
  if (start_.gates.mode == Mode::enforce && !start_.gates.paused && !start_.gates.grace_until) carry_out_plan();
}

// What rebalance_pool() planned, at most 50 sessions a second: whoever sees that it was wrong can still stop most of it.
void Pass::carry_out_plan() {
  for (Cursor cursor; !cursor.done;) {
    std::vector<Tracked> batch = store_.scan_planned(cursor, 50);
    if (!batch.empty()) handle(batch, Sweep::planned);
    if (cursor.done) return;
    if (most_waiting_ < seconds(1)) return due_at(store_.now() + seconds(1));
    most_waiting_ -= seconds(1);
    waiter_.wait(-1, seconds(1));
  }
}

void Pass::sweep_owed() {
  Cursor cursor;
  while (!cursor.done) {
    std::vector<Tracked> batch = store_.scan_owed(cursor);
    if (!batch.empty()) handle(batch, Sweep::all_but_inferred_forces);
  }
  send_retries();
}

// Who is in the pools and can be given work. The agents of a hub that lists them cost two requests, whatever their number;
// of another one only so many are asked about in a pass, those that were not for longest.
void Pass::refresh_registry() {
  if (!store_.binding().pools) return;
  const bool lists = hub_ && hub_->profile().can_list();
  if (const auto ids = store_.agents_to_ask(lists ? 10000 : 1000); ids && hub_ && may_ask()) {
    std::set<std::string> asked(ids->begin(), ids->end());
    if (lists) {
      const std::vector<AgentAnswer> listed = hub_->list();
      store_.note_agents(listed);
      // Those that join are looked at as well: of an agent that was never seen nothing is gone.
      for (const AgentAnswer& agent : listed)
        if (agent.status == AgentAnswer::Status::connected) asked.insert(agent.id);
    }
    observer_.look(asked);
  }
  store_.refresh_registry();
}

void Pass::handle(std::vector<Tracked>& batch, Sweep sweep) {
  Time now = store_.now();
  std::set<std::string> agents;
  for (const Tracked& tracked : batch)
    if (needs_evidence(store_.binding(), tracked, now)) agents.insert(*tracked.session.agent);
  if (may_ask()) {
    observer_.look(agents);
    settle_unknown_outcomes(batch);
    ask_progress(batch);
  } else {
    observer_.load(agents);
  }
  observer_.load_runtimes(batch);
  siblings_.consider(batch, may_ask());
  Batch sorted;
  for (Tracked& tracked : batch) sort_verdict(tracked, sweep, sorted);
  if (sweep == Sweep::inferred_forces_only)
    close_at_pace(sorted.force_inferred);
  else
    act(sorted);
}

// A hub without idempotency keys: whether a try whose outcome is unknown arrived stands in its command table.
// Its own row appears there under an id that was not the newest when we sent.
void Pass::settle_unknown_outcomes(std::vector<Tracked>& batch) {
  if (!hub_ || hub_->profile().idempotent() || !store_.binding().commands_table) return;
  std::vector<Attempt> found;
  for (Tracked& tracked : batch) {
    const Episode& episode = tracked.episode;
    const std::string action = command_for(store_.binding(), tracked);
    const auto& newest = tracked.commands.newest_like(action);
    if (!episode.command_id || !episode.last_attempt || !newest || newest->action != action) continue;
    if (episode.lease_until && *episode.lease_until > store_.now()) continue;
    // Only a try that may have arrived: after a crash (its lease is left), or an answer that said nothing.
    const bool may_have_arrived = episode.lease_until || episode.last_result.starts_with("unknown") || episode.last_result.starts_with("unclear");
    if (!may_have_arrived || rules::fate_of(*newest) == rules::CommandFate::undelivered) continue;
    if (episode.last_command_seen && *episode.last_command_seen == newest->id) continue;
    Attempt attempt{&tracked, *episode.command_id, episode.attempts + 1, Delivery{}, true, {}};
    attempt.delivery.outcome = Delivery::Outcome::answered;
    attempt.delivery.meaning = CommandMeaning::accepted;
    attempt.delivery.hub_command_id = newest->id;
    attempt.delivery.detail = "found in the hub's command table";
    found.push_back(attempt);
    tracked.episode.accepted_at = store_.now();
    tracked.episode.command_id.reset();
  }
  if (!found.empty()) store_.record(start_, found);
}

// Hubs that tell: what became of accepted commands, and, for quarantined sessions, whether the thing is gone.
void Pass::ask_progress(std::vector<Tracked>& batch) {
  if (!hub_ || start_.gates.mode != Mode::enforce) return;
  std::map<std::string, Tracked*> by_command, by_session;
  for (Tracked& tracked : batch) {
    const Episode& episode = tracked.episode;
    if (tracked.hold && tracked.hold->until > store_.now()) continue;
    if (hub_->profile().can_ask_command() && episode.accepted_at && episode.hub_command_id && !episode.completion_seen)
      by_command[*episode.hub_command_id] = &tracked;
    // A quarantined session is looked at about once an hour.
    const bool hourly = episode.quarantined && (store_.now() - *episode.quarantined) % hours(1) < store_.binding().limits.interval;
    const Facts facts = facts_of(store_.binding(), observer_, tracked, may_send(), store_.now());
    const bool by_agent = !facts.policy || facts.policy->judged_by == JudgedBy::agent;
    if (hub_->profile().can_ask_session() && by_agent && (hourly || wants_session_status(facts)) && !episode.session_gone)
      by_session[tracked.session.key] = &tracked;
  }
  const auto ids = [](const auto& map) {
    std::vector<std::string> keys;
    for (const auto& [key, unused] : map) keys.push_back(key);
    return keys;
  };
  if (!by_command.empty())
    for (auto& [id, state] : hub_->command_progress(ids(by_command)))
      if (state.progress == CommandProgress::completed || state.progress == CommandProgress::failed) {
        Tracked& tracked = *by_command.at(id);
        store_.record_progress(start_, tracked, state.progress, SessionAnswer::unclear, state.error);
        const bool start = command_for(store_.binding(), tracked) == start_session;
        if (state.progress == CommandProgress::completed)
          (start ? tracked.episode.session_running : tracked.episode.completion_seen) = store_.now();
        else
          tracked.episode.accepted_at.reset();
      }
  if (!by_session.empty())
    for (auto& [key, said] : hub_->session_status(ids(by_session))) {
      const SessionAnswer answer = said.answer;
      if (answer == SessionAnswer::unclear) continue;
      Tracked& tracked = *by_session.at(key);
      if (tracked.episode.owed != Owed::nothing) {
        store_.settle_late(start_, tracked, answer);
      } else {
        store_.record_progress(start_, tracked, CommandProgress::unclear, answer, "");
        (answer == SessionAnswer::gone ? tracked.episode.session_gone : tracked.episode.session_running) = store_.now();
        if (const Evidence* agent = observer_.of(tracked.session.agent); agent && answer != SessionAnswer::gone) tracked.episode.incarnation = agent->last.incarnation;
      }
    }
}

void Pass::sort_verdict(Tracked& tracked, Sweep sweep, Batch& batch) {
  const Time now = store_.now();
  const Facts facts = facts_of(store_.binding(), observer_, tracked, may_send(), now, siblings_.of(tracked));
  Verdict verdict = judge(facts);
  if (sweep != Sweep::inferred_forces_only) siblings_.note(tracked, verdict);
  // Those whose state has a policy were counted by its own sweep.
  if (sweep == Sweep::all_but_inferred_forces || (sweep == Sweep::leaving && !(facts.policy && facts.policy->enabled))) {
    ++end_.scanned;
    if (is_stuck(facts, verdict)) {
      ++end_.stuck, ++end_.stuck_by_state[tracked.session.state];
      if (!tracked.episode.detected) batch.newly_stuck.push_back(&tracked);
    }
    if (verdict.rule == "agent_unknown" && tracked.session.agent) unknown_agents_.insert(*tracked.session.agent);
    unknown_runtimes_ = unknown_runtimes_ || (verdict.rule == "runtime_unknown" && rules::has_runtime(facts) && observer_.sees_runtimes());
  }
  if (tracked.episode.incarnation.empty() && facts.agent && !facts.agent->last.incarnation.empty() && rules::agent_presence(facts) == Presence::present)
    batch.met.push_back(&tracked);
  const bool noted = tracked.episode.last_would == would_mark(verdict);
  if (verdict.blocked_by == Blocked::contradiction && !noted && sweep == Sweep::all_but_inferred_forces)
    batch.would.push_back({&tracked, verdict, evidence_json(facts, verdict)});
  if (sweep == Sweep::planned && verdict.action != Action::reassign) batch.stays.push_back(&tracked);
  if (verdict.action == Action::wait) return due_at(verdict.due);
  if ((sweep == Sweep::leaving || sweep == Sweep::planned) && verdict.action != Action::reassign) return;

  const Gated gated = gate(verdict, facts.policy, tracked.episode, start_.gates, now);
  if (gated.by == Blocked::observe_mode) {
    // Once per episode and verdict: an observed table must not fill the event table pass after pass.
    if (!noted) batch.would.push_back({&tracked, verdict, evidence_json(facts, verdict)});
    return;
  }
  if (gated.by != Blocked::none) return due_at(gated.until);

  switch (verdict.action) {
    case Action::finalize:
    case Action::force: {
      Closing closing{&tracked, verdict, evidence_json(facts, verdict)};
      const bool inferred = verdict.action == Action::force && !(facts.policy && facts.policy->user_requested);
      if (verdict.action == Action::finalize) {
        batch.finalize.push_back(std::move(closing));
      } else if (!inferred) {
        batch.force_user.push_back(std::move(closing));
      } else {
        if (sweep == Sweep::all_but_inferred_forces) forces_due_.add(tracked.session, verdict);
        batch.force_inferred.push_back(std::move(closing));
      }
      break;
    }
    case Action::reassign:
      if (verdict.sends.empty()) {
        batch.hand_over.push_back({&tracked, verdict, evidence_json(facts, verdict)});
        break;
      }
      [[fallthrough]];
    case Action::retry:
      if (verdict.to_agent.empty()) tracked.ignored = ignored_last_try(facts);
      else tracked.goes_to = {verdict.to_agent, verdict, evidence_json(facts, verdict)};
      batch.retry.push_back(&tracked);
      break;
    case Action::quarantine:
      store_.quarantine(start_, tracked, verdict, evidence_json(facts, verdict));
      ++end_.quarantined;
      break;
    default: break;
  }
}

void Pass::act(Batch& batch) {
  if (!batch.newly_stuck.empty()) store_.note_stuck(start_, batch.newly_stuck);
  if (!batch.met.empty()) store_.note_incarnations(batch.met);
  if (!batch.would.empty()) store_.note_would(start_, batch.would);
  if (!batch.stays.empty()) store_.forget_planned(batch.stays);
  close(batch.finalize, Budget::none);
  close(batch.force_user, Budget::user_requested);
  if (!batch.hand_over.empty()) {
    const Store::Finished done = store_.hand_over(start_, batch.hand_over);
    end_.reassigned += done.closed, end_.skipped += done.skipped;
    due_at(done.budget_frees);
  }
  if (!may_send()) return;
  // Collected over batches: the hub is waited for once, not once for each of them.
  for (Tracked* tracked : batch.retry) retries_.push_back(std::move(*tracked));
  if (retries_.size() >= most_retries) send_retries();
}

// Whether the budget let all of them through.
bool Pass::close(const std::vector<Closing>& closings, Budget budget) {
  if (closings.empty()) return true;
  const Store::Finished done = store_.finish(start_, closings, budget);
  (budget == Budget::none ? end_.finalized : end_.forced) += done.closed;
  // The gauge tells what is left, not what was found. All of a batch are of one state.
  if (auto found = end_.stuck_by_state.find(closings.front().tracked->session.state); found != end_.stuck_by_state.end())
    found->second = std::max<std::int64_t>(0, found->second - done.closed);
  end_.skipped += done.skipped;
  due_at(done.budget_frees);
  return !done.spent;
}

// Inferred forces leave evenly, so that whoever sees that they are wrong can still stop most of them. Nothing is held
// while they wait.
void Pass::close_at_pace(const std::vector<Closing>& closings) {
  for (auto from = closings.begin(); from != closings.end();) {
    const Paced paced = store_.take_pace(losses_, closings.end() - from);
    if (paced.granted > 0) {
      const auto to = from + static_cast<std::ptrdiff_t>(paced.granted);
      if (!close({from, to}, Budget::inferred)) return;  // the rest would only be waited for
      from = to;
      continue;
    }
    if (paced.wait > most_waiting_) {
      most_waiting_ = Duration(0);
      return due_at(store_.now() + paced.wait);
    }
    most_waiting_ -= paced.wait;
    waiter_.wait(-1, paced.wait);
  }
}

// Judged before the first of them is done: too many at once, and none is.
void Pass::force_inferred() {
  // A brake that holds back is asked even when nothing is due: what it was for may be gone, or lost agents back.
  // Only a pass that could have forced, and knows of every agent, can tell.
  const Gates& gates = start_.gates;
  const bool would_know = gates.mode == Mode::enforce && !gates.paused && !gates.grace_until && gates.identity_confirmed && unknown_agents_.empty();
  if (forces_due_.count == 0 && !((gates.brake_tripped || gates.brake_slowed) && would_know)) return;
  // Whether agents were lost is no question to those alone whose sessions are stuck.
  const std::vector<std::string> lately = store_.lately_present();
  if (may_ask()) observer_.look({lately.begin(), lately.end()});
  const std::optional<Losses> pace = store_.may_force(start_, forces_due_);
  if (!pace) return;
  losses_ = *pace;
  sweep_policies(Sweep::inferred_forces_only);
}

// Rows that hang on sessions which are no more. Inferred like a force, and done where one may be.
void Pass::finish_orphans() {
  const Gates& gates = start_.gates;
  if (gates.mode != Mode::enforce || gates.paused || gates.grace_until || gates.brake_tripped || !may_ask()) return;
  const Store::Finished done = store_.finish_orphans(start_);
  end_.forced += done.closed;
  due_at(done.budget_frees);
}

// Round after round: each takes what fits into the next seconds of every agent's spacing, so that a hold, a pause or a
// change of the row stops what has not left yet.
void Pass::send_retries() {
  const std::deque<Tracked> due = std::exchange(retries_, {});
  std::vector<const Tracked*> rest;
  for (const Tracked& tracked : due) rest.push_back(&tracked);
  while (!rest.empty()) {
    std::vector<const Tracked*> left = send_round(rest);
    if (left.size() == rest.size()) return;
    rest = std::move(left);
  }
}

// A few hundred are claimed at a time, when the last of those before them are leaving: the hub's connections stay busy,
// and no lease is longer than it has to be. Returns what could not be claimed.
std::vector<const Tracked*> Pass::send_round(const std::vector<const Tracked*>& due) {
  constexpr std::size_t chunk = 250;
  struct Sent {
    const Tracked* tracked;
    Claim claim;
  };
  std::vector<Sent> sent;
  std::vector<const Tracked*> left;
  std::size_t asked = 0, returned = 0;
  const auto next = [&] {
    std::vector<Dispatch> sends;
    while (sends.empty() && asked < due.size()) {
      const auto from = due.begin() + static_cast<std::ptrdiff_t>(asked);
      std::vector<const Tracked*> wanted(from, from + static_cast<std::ptrdiff_t>(std::min(chunk, due.size() - asked)));
      asked += wanted.size();
      for (Claim& claim : store_.claim(start_, wanted, hub_->longest_delivery(sent.size() - returned + wanted.size()))) {
        const Tracked* tracked = std::exchange(wanted[claim.index], nullptr);
        sends.push_back(dispatch_of(*tracked, claim));
        sent.push_back({tracked, std::move(claim)});
      }
      std::copy_if(wanted.begin(), wanted.end(), std::back_inserter(left), [](const Tracked* one) { return one != nullptr; });
    }
    return sends;
  };
  // Answers are recorded while others are still out: many to a transaction, none left waiting for long.
  std::vector<Attempt> answered;
  Duration since = waiter_.uptime();
  const auto flush = [&] {
    if (!answered.empty()) store_.record(start_, answered);
    end_.retried += static_cast<std::int64_t>(answered.size());
    answered.clear();
    since = waiter_.uptime();
  };
  hub_->dispatch(next, [&](std::size_t index, const Delivery& delivery) {
    const Sent& one = sent[index];
    ++returned;
    answered.push_back({one.tracked, one.claim.command_id, one.claim.attempt, delivery, false, one.claim.lease});
    if (answered.size() >= chunk || waiter_.uptime() - since >= seconds(1)) flush();
  });
  flush();
  return left;
}

Dispatch Pass::dispatch_of(const Tracked& tracked, const Claim& claim) const {
  const Session& session = tracked.session;
  return {.command = {.command_id = claim.command_id,
                      .agent = agent_for(tracked),
                      .action = command_for(store_.binding(), tracked),
                      .session = session.key,
                      .runtime = session.runtime.value_or(""),
                      .reason = tracked.episode.owed == Owed::nothing ? "stuck in " + session.state : "late agent: the session is " + session.state,
                      .attempt = claim.attempt,
                      .payload = claim.payload},
          .not_before = claim.not_before,
          .agent_present = true};
}

}  // namespace reconciler
