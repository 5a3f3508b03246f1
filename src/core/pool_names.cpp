#include "core/pool_names.hpp"

namespace reconciler {
namespace {

constexpr std::string_view kubernetes = "kubernetes";

// k8s.io/apimachinery/pkg/util/rand: no vowels, so that no words come out, and nothing that is taken for another.
bool generated(std::string_view part) { return part.find_first_not_of("bcdfghjklmnpqrstvwxz2456789") == part.npos; }

bool ordinal(std::string_view part) {
  return !part.empty() && part.size() <= 4 && part.find_first_not_of("0123456789") == part.npos && (part.size() == 1 || part[0] != '0');
}

// Takes the last part off, where something is left before it.
std::string_view cut_last(std::string_view& id) {
  const std::size_t dash = id.rfind('-');
  if (dash == id.npos || dash == 0) return {};
  const std::string_view last = id.substr(dash + 1);
  id = id.substr(0, dash);
  return last;
}

}  // namespace

std::string_view without_pod(std::string_view id) {
  std::string_view stem = id;
  const std::string_view last = cut_last(stem);
  if (ordinal(last)) return stem;
  if (last.size() != 5 || !generated(last)) return id;
  const std::string_view hash = cut_last(stem);
  return hash.size() >= 8 && hash.size() <= 10 && generated(hash) ? stem : id;
}

PoolName pool_of(const AgentOrigin& agent) {
  PoolName pool{.platform = agent.platform, .region = agent.region, .name = agent.pool, .name_space = agent.name_space,
                .runtimes_outlive_agents = agent.platform == kubernetes, .why_not = {}};
  if (!pool.name.empty()) return pool;
  if (agent.platform.empty()) return {.platform = {}, .region = {}, .name = {}, .name_space = {}, .why_not = "its platform is not known"};
  const std::string_view stem = agent.platform == kubernetes ? without_pod(agent.id) : std::string_view(agent.id);
  pool.name = stem.size() < agent.id.size() || agent.name_space.empty() ? stem : std::string_view(agent.name_space);
  return pool;
}

}  // namespace reconciler
