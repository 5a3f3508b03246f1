// Runs worlds; see README.md.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <sstream>
#include <string_view>

#include "simulation/shrink.hpp"

namespace reconciler::simulation {
namespace {

struct Options {
  std::uint64_t seed = 1;
  std::int64_t seeds = 1, passes = 0, seconds = 0;
  std::optional<Shape> given;  // of a shrunk failure
  Plant plant = Plant::none;
  bool self_test = false, trace = false;
};

[[noreturn]] void usage() {
  std::fputs("simulate [--seed N] [--seeds N] [--passes N] [--seconds N] [--plant NAME] [--trace] [--self-test]\n"
             "         [--sessions N --agents N --minutes N --faults a,b,…]   as a shrunk failure says\n", stderr);
  std::exit(2);
}

Options read(const std::vector<std::string>& words) {
  Options o;
  const std::size_t count = words.size();
  const auto number = [&](std::size_t i) {
    std::int64_t n = 0;
    if (i >= count) usage();
    const std::string_view text = words[i];
    if (std::from_chars(text.data(), text.data() + text.size(), n).ptr != text.data() + text.size()) usage();
    return n;
  };
  std::optional<std::int64_t> sessions, agents, stormy;
  std::optional<Faults> faults;
  for (std::size_t i = 1; i < count; ++i) {
    const std::string_view what = words[i];
    if (what == "--seed") o.seed = static_cast<std::uint64_t>(number(++i));
    else if (what == "--seeds") o.seeds = number(++i);
    else if (what == "--passes") o.passes = number(++i);
    else if (what == "--seconds") o.seconds = number(++i);
    else if (what == "--sessions") sessions = number(++i);
    else if (what == "--agents") agents = number(++i);
    else if (what == "--minutes") stormy = number(++i);
    else if (what == "--faults" && i + 1 < count) faults = faults_from(words[++i]);
    else if (what == "--plant" && i + 1 < count) o.plant = plant_from(words[++i]);
    else if (what == "--self-test") o.self_test = true;
    else if (what == "--trace") o.trace = true;
    else usage();
  }
  if (sessions || agents || stormy || faults) {
    Shape& shape = o.given.emplace(shape_of(o.seed));
    if (sessions) shape.sessions = static_cast<int>(*sessions);
    if (agents) shape.agents = static_cast<int>(*agents);
    if (stormy) shape.stormy = minutes(*stormy);
    if (faults) shape.faults = *faults;
  }
  return o;
}

int report(const Shape& shape, const Violation& violation) {
  std::printf("seed %llu: %s: %s\n", static_cast<unsigned long long>(shape.seed), violation.invariant.c_str(), violation.text.c_str());
  const Shape least = shrunk(shape, violation.invariant);
  const Outcome again = run(least);
  std::printf("the least that still fails: %s\n  %s: %s\n", command_line(least).c_str(), again.violation->invariant.c_str(), again.violation->text.c_str());
  return 1;
}

int simulate(const Options& o) {
  const auto begun = std::chrono::steady_clock::now();
  const auto took = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count(); };
  std::int64_t worlds = 0, passes = 0;
  const bool open_ended = o.passes > 0 || o.seconds > 0;
  while (open_ended ? (o.passes == 0 || passes < o.passes) && (o.seconds == 0 || took() < static_cast<double>(o.seconds)) : worlds < o.seeds) {
    Shape shape = o.given ? *o.given : shape_of(o.seed + static_cast<std::uint64_t>(worlds));
    shape.plant = o.plant;
    const Outcome outcome = run(shape, o.trace);
    ++worlds, passes += outcome.passes;
    if (outcome.violation) return report(shape, *outcome.violation);
  }
  std::printf("%lld passes in %lld worlds without a violation, %.0f passes/s\n", static_cast<long long>(passes), static_cast<long long>(worlds),
              static_cast<double>(passes) / std::max(took(), 1e-3));
  return 0;
}

// What is printed of a failure fails in the same way, and is no larger.
bool shrinks(const Shape& shape, const Violation& violation) {
  const Shape least = shrunk(shape, violation.invariant);
  const auto there = run(least).violation;
  std::istringstream line(command_line(least));
  Options o = read({std::istream_iterator<std::string>(line), {}});
  if (!o.given || !there) return false;
  o.given->plant = o.plant;
  const auto again = run(*o.given).violation;
  return again && again->invariant == violation.invariant && again->text == there->text && least.sessions <= shape.sessions &&
         least.agents <= shape.agents && least.stormy <= shape.stormy && (least.faults & ~shape.faults) == 0;
}

// As TAP: a seed replays exactly, each planted fault is found by the invariant that is for it, and the first one shrinks.
int self_test() {
  int n = 0, bad = 0;
  const auto result = [&](bool good, const std::string& what) {
    std::printf("%s %d - %s\n", good ? "ok" : "not ok", ++n, what.c_str());
    bad += !good;
  };
  for (const std::uint64_t seed : {std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{3}})
    result(run(shape_of(seed)).digest == run(shape_of(seed)).digest, "seed " + std::to_string(seed) + " replays");
  for (const Planted& planted : planted_faults()) {
    std::optional<Violation> found;
    std::uint64_t seed = 0;
    Shape shape;
    while (!(found && found->invariant == planted.found_by) && seed < 400) {
      shape = shape_of(++seed);
      shape.plant = planted.plant;
      if (planted.among) shape.faults = planted.among;
      found = run(shape).violation;
    }
    result(found && found->invariant == planted.found_by,
           std::string(planted.name) + " is found by " + planted.found_by + (found ? " (seed " + std::to_string(seed) + ": " + found->invariant + ": " + found->text + ")" : ""));
    if (found && planted.plant == planted_faults().front().plant) result(shrinks(shape, *found), std::string(planted.name) + " shrinks to what its command line says");
  }
  std::printf("1..%d\n", n);
  return bad ? 1 : 0;
}

}  // namespace
}  // namespace reconciler::simulation

int main(int argc, char** argv) {
  using namespace reconciler::simulation;
  const Options options = read({argv, argv + argc});
  return options.self_test ? self_test() : simulate(options);
}
