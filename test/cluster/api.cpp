// The API itself: discovery, lists, single objects, removals, with the answers that a real server gives.
#include "cluster.hpp"

#include <algorithm>

namespace testcluster {

namespace {

using View = std::string_view;

struct Target {
    const Kind* kind = nullptr;
    Name name;  // name.name is empty: the collection
};

bool among(const std::vector<std::string>& values, const std::string& value)
{
    return std::any_of(values.begin(), values.end(), [&](const std::string& one) { return one == "*" || one == value; });
}

std::string in_quotes(const std::string& text) { return "\"" + text + "\""; }

bool allowed(const Cluster& cluster, const std::string& verb, const Kind& kind, const std::string& space)
{
    return cluster.rights.empty() || std::any_of(cluster.rights.begin(), cluster.rights.end(), [&](const Right& right) {
               // A right in one namespace is none in all of them.
               const bool here = space.empty() ? std::find(right.namespaces.begin(), right.namespaces.end(), "*") != right.namespaces.end()
                                               : among(right.namespaces, space);
               return here && among(right.verbs, verb) && among(right.groups, kind.group) && among(right.resources, kind.resource);
           });
}

Response forbidden(const Cluster& cluster, const std::string& verb, const Target& target)
{
    const Kind& kind = *target.kind;
    const std::string what = target.name.name.empty() ? kind.qualified() : kind.qualified() + " " + in_quotes(target.name.name);
    const std::string where = target.name.space.empty() ? " at the cluster scope" : " in the namespace " + in_quotes(target.name.space);
    return failure(403, "Forbidden",
                   what + " is forbidden: User " + in_quotes(cluster.settings.user) + " cannot " + verb + " resource " + in_quotes(kind.resource) +
                       " in API group " + in_quotes(kind.group) + where,
                   {{"name", target.name.name}, {"group", kind.group}, {"kind", kind.resource}});
}

Json details_of(const Target& target, const std::string& uid = "")
{
    Json details{{"name", target.name.name}, {"kind", target.kind->resource}};
    if (!target.kind->group.empty()) details["group"] = target.kind->group;
    if (!uid.empty()) details["uid"] = uid;
    return details;
}

Response not_found(const Target& target)
{
    return failure(404, "NotFound", target.kind->qualified() + " " + in_quotes(target.name.name) + " not found", details_of(target));
}

Response no_such_page() { return {404, "404 page not found\n", "text/plain; charset=utf-8", ""}; }

Json partial(const Json& object)
{
    return {{"kind", "PartialObjectMetadata"}, {"apiVersion", "meta.k8s.io/v1"}, {"metadata", object.at("metadata")}};
}

Json page_body(const Kind& kind, const Page& page, bool metadata_only)
{
    Json metadata{{"resourceVersion", std::to_string(page.revision)}};
    if (!page.next.empty()) metadata["continue"] = page.next;
    Json items;
    for (const Json& item : page.items) items.push_back(metadata_only ? partial(item) : item);
    if (metadata_only) return {{"kind", "PartialObjectMetadataList"}, {"apiVersion", "meta.k8s.io/v1"}, {"metadata", metadata}, {"items", items}};
    return {{"kind", kind.kind + "List"}, {"apiVersion", kind.api_version()}, {"metadata", metadata}, {"items", items.is_null() ? Json::array() : items}};
}

Response list(Cluster& cluster, const Request& request, const Target& target, const std::string& accept)
{
    if (!allowed(cluster, "list", *target.kind, target.name.space)) return forbidden(cluster, "list", target);
    const bool wants_metadata = accept.find("as=PartialObjectMetadataList") != std::string::npos;
    if (wants_metadata && cluster.metadata == "refuse")
        return failure(406, "NotAcceptable", "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf");
    const bool metadata_only = wants_metadata && cluster.metadata == "give";
    const auto selector = parse_selector(request.parameter("labelSelector"));
    if (!selector) return failure(400, "BadRequest", "unable to parse requirement: " + request.parameter("labelSelector"));
    const auto limit = static_cast<std::size_t>(std::atoll(request.parameter("limit", "0").c_str()));
    const std::string token = request.parameter("continue");
    if (token.empty()) return json_answer(200, page_body(*target.kind, cluster.store.list(*target.kind, target.name.space, *selector, limit), metadata_only));
    const auto page = cluster.store.list_on(token, limit);
    if (page) return json_answer(200, page_body(*target.kind, *page, metadata_only));
    // The token for those who are content with a list of two moments: this double has no such list.
    Response gone = failure(410, "Expired",
                            "The provided continue parameter is too old to display a consistent list result. You can start a new list without the "
                            "continue parameter, or use the continue token in this response to retrieve the remainder of the results.");
    Json body = Json::parse(gone.body);
    body["metadata"]["continue"] = "eyJpbmNvbnNpc3RlbnQ";
    return json_answer(410, body);
}

std::optional<Response> precondition_failed(const Target& target, const Json& metadata, const Json& preconditions)
{
    const auto fails = [&](const char* wanted, const char* word) -> std::optional<Response> {
        const auto found = preconditions.find(wanted);
        if (found == preconditions.end() || *found == metadata.at(wanted)) return {};
        const std::string is = metadata.at(wanted), was = *found;
        return failure(409, "Conflict",
                       "Operation cannot be fulfilled on " + target.kind->qualified() + " " + in_quotes(target.name.name) + ": Precondition failed: " + word +
                           " in precondition: " + was + ", " + word + " in object meta: " + is,
                       details_of(target));
    };
    if (auto failed = fails("uid", "UID")) return failed;
    return fails("resourceVersion", "ResourceVersion");
}

Response remove(Cluster& cluster, const Request& request, const Target& target)
{
    if (!allowed(cluster, "delete", *target.kind, target.name.space)) return forbidden(cluster, "delete", target);
    Json options = Json::object();
    if (!request.body.empty()) {
        options = Json::parse(request.body, nullptr, false);
        if (!options.is_object() || options.value("kind", "DeleteOptions") != "DeleteOptions")
            return failure(400, "BadRequest", "couldn't get version/kind; json parse error");
    }
    const std::string policy = options.value("propagationPolicy", "Background");
    if (policy != "Background" && policy != "Orphan" && policy != "Foreground")
        return failure(422, "Invalid", "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Invalid value");
    const Json* object = cluster.store.find(*target.kind, target.name);
    if (object == nullptr) return not_found(target);
    const Json before = *object;
    if (auto failed = precondition_failed(target, before.at("metadata"), options.value("preconditions", Json::object()))) return *failed;
    if (options.value("dryRun", Json::array()) == Json::array({"All"})) return json_answer(200, before);
    cluster.store.end(*target.kind, target.name, policy == "Orphan", cluster.now());
    if (const Json* ending = cluster.store.find(*target.kind, target.name)) return json_answer(200, *ending);
    if (target.kind->resource == "pods") return json_answer(200, before);
    return json_answer(200, {{"kind", "Status"}, {"apiVersion", "v1"}, {"metadata", Json::object()}, {"status", "Success"},
                             {"details", details_of(target, before.at("metadata").at("uid"))}});
}

Response get(Cluster& cluster, const Target& target)
{
    if (!allowed(cluster, "get", *target.kind, target.name.space)) return forbidden(cluster, "get", target);
    const Json* object = cluster.store.find(*target.kind, target.name);
    return object == nullptr ? not_found(target) : json_answer(200, *object);
}

Response discover(const Cluster& cluster, const std::string& group, const std::string& version)
{
    Json resources = Json::array();
    for (const Kind& kind : cluster.store.kinds)
        if (kind.group == group && kind.version == version)
            resources.push_back({{"name", kind.resource}, {"singularName", ""}, {"namespaced", kind.namespaced}, {"kind", kind.kind}, {"verbs", {"delete", "get", "list"}}});
    if (resources.empty()) return no_such_page();
    Json list{{"kind", "APIResourceList"}, {"groupVersion", group.empty() ? version : group + "/" + version}, {"resources", resources}};
    if (!group.empty()) list["apiVersion"] = "v1";  // the core group's has none
    return json_answer(200, list);
}

Response discover_group(const Cluster& cluster, const std::string& group)
{
    std::map<std::string, Json> versions;
    for (const Kind& kind : cluster.store.kinds)
        if (kind.group == group) versions[kind.version] = {{"groupVersion", kind.api_version()}, {"version", kind.version}};
    if (versions.empty()) return no_such_page();
    Json list = Json::array();
    for (const auto& [version, one] : versions) list.push_back(one);
    return json_answer(200, {{"kind", "APIGroup"}, {"apiVersion", "v1"}, {"name", group}, {"versions", list}, {"preferredVersion", list[0]}});
}

bool authentic(const Cluster& cluster, const Request& request)
{
    if (cluster.settings.token_file.empty()) return true;
    std::ifstream file(cluster.settings.token_file);
    std::string token;
    file >> token;
    return !token.empty() && request.authorization == "Bearer " + token;
}

}  // namespace

Response failure(int code, const std::string& reason, const std::string& message, Json details)
{
    return json_answer(code, {{"kind", "Status"}, {"apiVersion", "v1"}, {"metadata", Json::object()}, {"status", "Failure"}, {"message", message},
                              {"reason", reason}, {"details", std::move(details)}, {"code", code}});
}

Response json_answer(int code, const Json& body) { return testhub::json_response(code, body.dump() + "\n"); }

Response answer_api(Cluster& cluster, const Request& request, const std::string& accept)
{
    if (!authentic(cluster, request)) return failure(401, "Unauthorized", "Unauthorized");
    std::vector<std::string> rest = request.segments;
    const bool core = rest.at(0) == "api";
    if (!core && rest.size() == 2) return discover_group(cluster, rest[1]);
    if (rest.size() < (core ? 2U : 3U)) return no_such_page();
    const std::string group = core ? "" : rest[1], version = rest[core ? 1 : 2];
    rest.erase(rest.begin(), rest.begin() + (core ? 2 : 3));
    if (rest.empty()) return discover(cluster, group, version);
    Target target;
    if (rest[0] == "namespaces" && rest.size() > 2) {
        target.name.space = rest[1];
        rest.erase(rest.begin(), rest.begin() + 2);
    }
    target.kind = cluster.store.find_kind(group, version, rest[0]);
    if (target.kind == nullptr) return no_such_page();
    if (rest.size() > 1) target.name.name = rest[1];
    if (rest.size() > 2) return failure(404, "NotFound", "the server could not find the requested resource");
    if (target.name.name.empty() && request.method == "GET") return list(cluster, request, target, accept);
    if (!target.name.name.empty() && request.method == "GET") return get(cluster, target);
    if (!target.name.name.empty() && request.method == "DELETE") return remove(cluster, request, target);
    return failure(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
}

}  // namespace testcluster
