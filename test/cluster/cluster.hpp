// What the double is made of, and one request's way through it.
#pragma once

#include "store.hpp"

#include "common/text.hpp"
#include "server/message.hpp"

#include <chrono>
#include <deque>
#include <fstream>
#include <string>
#include <vector>

namespace testcluster {

using testhub::Request;
using testhub::Response;

// One rule of a role; "*" is any.
struct Right {
    std::vector<std::string> verbs, groups, resources, namespaces;
};

// A fault: of the requests that it fits, the first `after` pass, the next `times` are hit.
struct Fault {
    std::string method, path;  // path: a part of it, query included
    int after = 0, times = 1 << 30;
    int status = 0;            // 0: no answer of its own
    std::string body, retry_after;
    int delay_ms = 0;
    bool reset = false;        // the connection is cut instead of an answer
};

struct Settings {
    unsigned short port = 0;
    std::string port_file, token_file;
    std::string user = "system:serviceaccount:default:session-reconciler-gc";
    bool parent_watch = false;
};

struct Cluster {
    Settings settings;
    Store store;
    std::vector<Right> rights;      // none: everything is allowed
    std::string metadata = "give";  // lists of metadata: give, refuse (406), ignore (whole objects)
    std::deque<Fault> faults;
    std::chrono::seconds clock_offset{0};
    std::vector<Json> requests;     // as they came, control aside

    std::string now() const;        // as the API writes it: whole seconds
    // The fault that the request meets now, if any.
    std::optional<Fault> fault(const Request&);
};

// Status bodies: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
Response failure(int code, const std::string& reason, const std::string& message, Json details = Json::object());
Response json_answer(int code, const Json& body);

// /api, /apis: accept is the header as sent
Response answer_api(Cluster&, const Request&, const std::string& accept);
// /control: what a test sets up
Response answer_control(Cluster&, const Request&);

}  // namespace testcluster
