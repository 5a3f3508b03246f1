// Objects and kinds of a cluster as JSON: between the command line collector and the SQL functions, and in reconciler.resource.
#pragma once

#include "core/json.hpp"
#include "engine/collect.hpp"

namespace reconciler {

// {"name","namespace","uid","resource_version","created","deleted","labels":{},"annotations":{},"finalizers":[],
//  "controller":{"kind","name","uid"}}: times as RFC 3339; what is empty is left out.
nlohmann::json to_json(const ClusterObject&);
// {"group","version","resource","namespaces":[],"selector"}
nlohmann::json to_json(const Selected&);

// Throw std::invalid_argument with a sentence where something is missing or of another type.
ClusterObject object_from(const nlohmann::json&);
Selected selected_from(const nlohmann::json&);

// complete, not_served, …; accepted, absent, …
const char* to_string(Listed::Outcome);
const char* to_string(Removed::Outcome);
std::optional<Listed::Outcome> listed_outcome_from(std::string_view);
std::optional<Removed::Outcome> removed_outcome_from(std::string_view);

}  // namespace reconciler
