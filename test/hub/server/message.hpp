// One HTTP request and its answer, free of any network library.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace testhub {

struct Request {
    std::string_view method;
    std::string_view path;               // without the query, as sent
    std::string_view query;              // without the question mark, as sent
    std::vector<std::string> segments;   // of the path, percent-decoded
    std::string_view body;
    std::string_view authorization;
    std::string_view idempotency_key;
    std::uint64_t connection = 0;        // number of the TCP connection

    void set_target(std::string_view target);
    // The decoded value of a query parameter, or the fallback.
    std::string parameter(std::string_view name, std::string fallback = {}) const;
    // The agent the request is about: /…/agents/{id}…, or ?agent_id= of a connecting agent; empty if none.
    std::string agent() const;
    // True for the path whose segments these are; "*" matches any one.
    bool is(std::string_view wanted_method, std::initializer_list<std::string_view> wanted) const;
};

struct Response {
    int status = 200;
    std::string body;
    std::string_view content_type = "application/json";
    std::string extra_headers;  // complete lines
};

Response json_response(int status, std::string body);
std::string_view reason_phrase(int status);
// Status line and headers, with the given length of the body.
std::string response_head(const Response& response, std::size_t content_length, bool keep_alive);

}  // namespace testhub
