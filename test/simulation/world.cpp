#include "simulation/world.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "core/text.hpp"
#include "simulation/hub.hpp"
#include "simulation/profiles.hpp"

namespace reconciler::simulation {
namespace {

constexpr Time beginning = from_unix_micros(1'800'000'000'000'000);

struct Vanished {};  // a pass that is no more. No std::exception: the engine must not see it
struct TransactionFailed : std::runtime_error {
  TransactionFailed() : std::runtime_error("the transaction was rolled back") {}
};

class PassConductor final : public Conductor {
 public:
  explicit PassConductor(World& world) : world_(world) {}
  void before(const char* what) override { world_.step(what, false); }
  void after(const char* what) override { world_.step(what, true); }

 private:
  World& world_;
};

class PassWaiter final : public Waiter {
 public:
  explicit PassWaiter(World& world) : world_(world) {}
  void wait(int, Duration timeout) override { world_.sleep_until(world_.now() + timeout); }
  Duration uptime() const override { return world_.now().time_since_epoch(); }

 private:
  World& world_;
};

}  // namespace

// One pass: the worker's, or a CALL's.
struct World::Job {
  Job(World& world, bool call)
      : conductor(world), waiter(world), store(world.db_, conductor, world.invariants_, world.shape_.plant), hub(world, world.profile_),
        pass(store, &hub, waiter), by_call(call), fiber([this] { run(); }) {}
  void run() {
    try {
      end = pass.run(by_call);
    } catch (const TransactionFailed&) {
    } catch (const Vanished&) {
    }
  }
  PassConductor conductor;
  PassWaiter waiter;
  SimStore store;
  SimHub hub;
  Pass pass;
  bool by_call, doomed = false;
  Time wakes{};
  PassEnd end;
  Fiber fiber;
};

World::World(const Shape& shape, bool trace)
    : shape_(shape), dice_(shape.seed, "scheduler"), network_(shape.seed, "network"), people_(shape.seed, "people"), trouble_(shape.seed, "trouble"),
      profile_(Random(shape.seed, "hub").chance(500) ? streamspace_profile() : standard_profile()), invariants_(*this), now_(beginning), trace_(trace) {
  hub_.heartbeats = !profile_.authoritative(), hub_.tells_gone = profile_.can_ask_session();
  Random policies(shape.seed, "policies");
  db_.binding = binding_of(shape, hub_.heartbeats, policies);
  db_.clock = now_, db_.server_started = now_ - hours(1);
  populate();
  Duration patience = hours(1);
  for (const Policy& p : db_.binding.policies)
    patience = std::max(patience, 2 * p.max_attempts * (p.command_timeout + 2 * p.retry_cap) + p.unreachable_limit + p.gone_after + hours(1));
  calm_from_ = now_ + shape.stormy, end_ = calm_from_ + patience;
  worker_due_ = now_;
  live();
  suffer();
}

World::~World() { end_all_passes(); }

Agent* World::agent(const std::string& id) {
  const auto found = agents_.find(id);
  return found == agents_.end() ? nullptr : &found->second;
}

void World::set_time(Time at) { now_ = at, db_.clock = at + offset_; }

void World::run() {
  while (!violation() && now_ < end_) {
    work_off();
    if (!stormy() && !calm_) calm_down();
    if (resume_one()) {
      set_time(now_ + dice_.between(Duration(10), milliseconds(5)));
      continue;
    }
    set_time(std::min(std::max(now_, next_event()), end_));
    if (now_ >= worker_due_ && std::none_of(jobs_.begin(), jobs_.end(), [](const auto& job) { return !job->by_call; })) begin(false);
  }
  end_all_passes();
  if (!violation()) invariants_.calm_is_over();
}

void World::work_off() {
  while (!agenda_.empty() && agenda_.begin()->first <= now_) {
    const auto what = std::move(agenda_.begin()->second);
    agenda_.erase(agenda_.begin());
    what();
  }
}

Time World::next_event() const {
  Time next = end_;
  if (!agenda_.empty()) next = std::min(next, agenda_.begin()->first);
  bool worker = false;
  for (const auto& job : jobs_) next = std::min(next, job->wakes), worker |= !job->by_call;
  return worker ? next : std::min(next, worker_due_);
}

void World::begin(bool call) {
  ++passes_begun_;
  beat();
  jobs_.push_back(std::make_unique<Job>(*this, call));
  jobs_.back()->wakes = now_;
}

// One of the passes that could go on does, up to its next step.
bool World::resume_one() {
  std::vector<Job*> ready;
  for (const auto& job : jobs_)
    if (job->wakes <= now_) ready.push_back(job.get());
  if (ready.empty()) return false;
  running_ = dice_.pick(ready);
  running_->fiber.resume();
  Job* const job = std::exchange(running_, nullptr);
  invariants_.step_done();
  if (!job->fiber.ended()) return true;
  if (!job->by_call) {
    const Duration rest = job->end.next_due ? *job->end.next_due - db_.clock : db_.binding.limits.interval;
    worker_due_ = now_ + std::clamp<Duration>(rest, seconds(1), db_.binding.limits.interval);
  }
  std::erase_if(jobs_, [&](const auto& one) { return one.get() == job; });
  return true;
}

void World::tell(const std::string& what) {
  if (trace_) std::fprintf(stderr, "%s  %s\n", span(now_ - beginning).c_str(), what.c_str());
}

// A step of the running pass is about to begin, or was committed.
void World::step(const char* what, bool committed) {
  Job& job = *running_;
  if (!committed) job.fiber.pause();
  if (job.doomed || goes_wrong(Fault::crash, 1)) throw Vanished{};
  if (!committed && goes_wrong(Fault::error, 1)) throw TransactionFailed{};
  if (committed && trace_) tell(cat({job.by_call ? "call: " : "worker: ", what}));
  // Whatever people do, they do it between two steps too.
  if (!committed && stormy() && dice_.chance(10)) people_act();
}

void World::sleep_until(Time when) {
  Job& job = *running_;
  job.wakes = when;
  job.fiber.pause();
  if (job.doomed) throw Vanished{};
}

void World::end_all_passes() {
  for (const auto& job : jobs_) {
    job->doomed = true;
    running_ = job.get();
    while (!job->fiber.ended()) job->fiber.resume();
  }
  running_ = nullptr;
  jobs_.clear();
}

void World::live() {
  after(people_.between(seconds(1), shape_.sessions > 100 ? seconds(10) : minutes(4)), [this] {
    if (!stormy()) return;
    people_act();
    live();
  });
}

void World::suffer() {
  after(trouble_.between(seconds(5), shape_.agents > 10 ? seconds(30) : minutes(4)), [this] {
    if (!stormy()) return;
    agent_suffers();
    hub_suffers();
    server_suffers();
    if (shape_.has(Fault::calls) && trouble_.chance(400) && jobs_.size() < 4) begin(true);
    suffer();
  });
}

// Nothing goes wrong any more: what was away for a while is back, what is dead is dead, and operators let go.
void World::calm_down() {
  calm_ = true;
  if (!hub_.up) hub_.up = true, hub_.up_since = now_;
  hub_.slow = hub_.refuses = false;
  hub_.lied.clear(), hub_.ghosts.clear();
  for (auto& [id, agent] : agents_) {
    hub_.known.insert(id);
    if (agent.cut) set_online(agent, agent.alive, false);
    else if (agent.online() && !hub_.connected.contains(id)) connect_soon(id);
  }
  db_.mode = Mode::enforce, db_.paused = db_.paused_everything = false;
  db_.holds.clear();
  look_after_calm();
}

// An operator resets the brake, as often as it takes.
void World::look_after_calm() {
  if (db_.brake.state.tripped && db_.brake.state.allowance == 0) {
    allowances_ += db_.brake.due;
    if (db_.brake.due > 0) db_.brake.state.allowance = db_.brake.due;
    else db_.brake.release();
    db_.brake.losses_from = db_.clock;
  }
  after(minutes(5), [this] { look_after_calm(); });
}

std::uint64_t World::digest() const {
  std::uint64_t sum = static_cast<std::uint64_t>(passes_begun_);
  const auto mix = [&](std::string_view text) { sum = (sum ^ seed_of(text)) * 0x100000001b3U; };
  for (const Event& event : db_.events) {
    mix(event.session), mix(event.kind), mix(event.to_state), mix(event.reason), mix(event.evidence);
    mix(std::to_string(unix_micros(event.at)));
  }
  return sum;
}

}  // namespace reconciler::simulation
