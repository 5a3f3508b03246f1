// The switches for tests: POST sets, GET shows.
#include "cluster.hpp"

namespace testcluster {

namespace {

std::vector<std::string> texts(const Json& of, const char* name)
{
    return of.contains(name) ? of.at(name).get<std::vector<std::string>>() : std::vector<std::string>{"*"};
}

Right right_of(const Json& of) { return {texts(of, "verbs"), texts(of, "groups"), texts(of, "resources"), texts(of, "namespaces")}; }

Fault fault_of(const Json& of)
{
    Fault fault;
    fault.method = of.value("method", "");
    fault.path = of.value("path", "");
    fault.after = of.value("after", fault.after);
    fault.times = of.value("times", fault.times);
    fault.status = of.value("status", 0);
    fault.body = of.value("body", "");
    fault.retry_after = of.value("retry_after", "");
    fault.delay_ms = of.value("delay_ms", 0);
    fault.reset = of.value("reset", false);
    return fault;
}

Kind kind_of(const Json& of)
{
    return {of.value("group", ""), of.value("version", "v1"), of.at("resource"), of.value("kind", "Thing"), of.value("namespaced", true)};
}

const Kind& known_kind(const Cluster& cluster, const std::string& resource)
{
    for (const Kind& kind : cluster.store.kinds)
        if (kind.resource == resource || kind.qualified() == resource) return kind;
    throw std::invalid_argument("no kind " + resource);
}

// {"resource":…, "objects":[{metadata}…]} or {"resource":…, "count":5000, "metadata":{…}}: name is a prefix then
Json create(Cluster& cluster, const Json& body)
{
    const Kind kind = known_kind(cluster, body.at("resource"));
    Json made = Json::array();
    const auto put = [&](const Json& metadata) { made.push_back(cluster.store.put(kind, {{"metadata", metadata}}, cluster.now()).at("metadata")); };
    if (body.contains("objects"))
        for (const Json& metadata : body.at("objects")) put(metadata);
    for (int i = 1; i <= body.value("count", 0); ++i) {
        Json metadata = body.at("metadata");
        metadata["name"] = metadata.at("name").get<std::string>() + std::to_string(i);
        put(metadata);
    }
    return body.contains("count") ? Json{{"made", made.size()}} : made;
}

Json names(Cluster& cluster)
{
    Json all = Json::object();
    for (const Kind& kind : cluster.store.kinds)
        for (const auto& [name, object] : cluster.store.all(kind)) all[kind.qualified()].push_back(name.space.empty() ? name.name : name.space + "/" + name.name);
    return all;
}

Json set(Cluster& cluster, const std::string& what, const Json& body)
{
    if (what == "objects") return create(cluster, body);
    if (what == "kinds") {
        for (const Json& one : body) cluster.store.kinds.push_back(kind_of(one));
    } else if (what == "rights") {
        cluster.rights.clear();
        for (const Json& one : body) cluster.rights.push_back(right_of(one));
    } else if (what == "faults") {
        cluster.faults.clear();
        for (const Json& one : body) cluster.faults.push_back(fault_of(one));
    } else if (what == "clock") {
        cluster.clock_offset = std::chrono::seconds(body.at("offset_seconds").get<long>());
    } else if (what == "metadata") {
        cluster.metadata = body.at("lists");
    } else if (what == "expire") {
        cluster.store.expire_tokens();
    } else if (what == "requests") {
        cluster.requests.clear();
    } else if (what == "end" || what == "strip") {
        const Kind kind = known_kind(cluster, body.at("resource"));
        const Name name{body.value("namespace", "default"), body.at("name")};
        what == "end" ? cluster.store.end(kind, name, false, cluster.now()) : cluster.store.strip_finalizers(kind, name, cluster.now());
    } else {
        throw std::invalid_argument("no switch " + what);
    }
    return Json::object();
}

}  // namespace

Response answer_control(Cluster& cluster, const Request& request)
{
    try {
        const std::string what = request.segments.size() == 2 ? request.segments[1] : "";
        if (request.method == "GET" && what == "objects") return json_answer(200, names(cluster));
        if (request.method == "GET" && what == "requests") return json_answer(200, cluster.requests);
        return json_answer(200, set(cluster, what, request.body.empty() ? Json::object() : Json::parse(request.body)));
    } catch (const std::exception& e) {
        return json_answer(400, {{"error", e.what()}});
    }
}

}  // namespace testcluster
