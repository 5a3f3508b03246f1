#include "message.hpp"

#include "../common/text.hpp"

#include <algorithm>

namespace testhub {

void Request::set_target(std::string_view target)
{
    const auto question = target.find('?');
    path = target.substr(0, question);
    query = question == std::string_view::npos ? std::string_view{} : target.substr(question + 1);
    segments.clear();
    std::size_t begin = 1;
    while (begin <= path.size()) {
        const auto end = std::min(path.find('/', begin), path.size());
        segments.push_back(percent_decode(path.substr(begin, end - begin)));
        begin = end + 1;
    }
    if (!segments.empty() && segments.back().empty()) segments.pop_back();
}

std::string Request::parameter(std::string_view name, std::string fallback) const
{
    std::string_view rest = query;
    while (!rest.empty()) {
        const auto end = std::min(rest.find('&'), rest.size());
        const std::string_view pair = rest.substr(0, end);
        const auto equals = pair.find('=');
        if (pair.substr(0, equals) == name) {
            std::string value(equals == std::string_view::npos ? std::string_view{} : pair.substr(equals + 1));
            std::replace(value.begin(), value.end(), '+', ' ');
            return percent_decode(value);
        }
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return fallback;
}

std::string Request::agent() const
{
    for (std::size_t i = 0; i + 1 < segments.size(); ++i)
        if (segments[i] == "agents") return segments[i + 1] == "connect" ? parameter("agent_id") : segments[i + 1];
    return {};
}

bool Request::is(std::string_view wanted_method, std::initializer_list<std::string_view> wanted) const
{
    return method == wanted_method && segments.size() == wanted.size() &&
           std::equal(wanted.begin(), wanted.end(), segments.begin(),
                      [](std::string_view w, const std::string& s) { return w == "*" || w == s; });
}

Response json_response(int status, std::string body)
{
    Response response;
    response.status = status;
    response.body = std::move(body);
    return response;
}

std::string_view reason_phrase(int status)
{
    switch (status) {
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 429: return "Too Many Requests";
    case 500: return "Internal Server Error";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    default: return "Status";
    }
}

std::string response_head(const Response& response, std::size_t content_length, bool keep_alive)
{
    std::string head;
    head.reserve(160 + response.extra_headers.size());
    head += "HTTP/1.1 ";
    head += std::to_string(response.status);
    head += ' ';
    head += reason_phrase(response.status);
    head += "\r\nContent-Type: ";
    head += response.content_type;
    head += "\r\nContent-Length: ";
    head += std::to_string(content_length);
    head += keep_alive ? "\r\n" : "\r\nConnection: close\r\n";
    head += response.extra_headers;
    head += "\r\n";
    return head;
}

}  // namespace testhub
