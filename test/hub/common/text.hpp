// Small conversions that hub and agent share: time stamps, percent-encoding, ids.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <random>
#include <string>
#include <string_view>

namespace testhub {

using WallTime = std::chrono::system_clock::time_point;

// 2025-12-05T10:00:00.123456Z
inline std::string rfc3339(WallTime time)
{
    using namespace std::chrono;
    const auto since_epoch = time.time_since_epoch();
    const auto whole = floor<seconds>(since_epoch);
    const auto micros = duration_cast<microseconds>(since_epoch - whole).count();
    const std::time_t seconds_part = whole.count();
    std::tm parts{};
    gmtime_r(&seconds_part, &parts);
    std::array<char, 40> out{};
    const auto used = std::strftime(out.data(), out.size(), "%Y-%m-%dT%H:%M:%S", &parts);
    std::snprintf(out.data() + used, out.size() - used, ".%06ldZ", static_cast<long>(micros));
    return out.data();
}

inline std::string percent_encode(std::string_view text)
{
    static constexpr char hex[] = "0123456789ABCDEF";
    std::string out;
    for (const unsigned char c : text) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                           c == '_' || c == '.' || c == '~';
        if (plain) {
            out += static_cast<char>(c);
        } else {
            out += '%';
            out += hex[c >> 4];
            out += hex[c & 15];
        }
    }
    return out;
}

inline std::string percent_decode(std::string_view text)
{
    const auto digit = [](char c) {
        if (c >= '0' && c <= '9') return c - '0';
        if (c >= 'a' && c <= 'f') return c - 'a' + 10;
        if (c >= 'A' && c <= 'F') return c - 'A' + 10;
        return -1;
    };
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0) {
            out += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
            i += 2;
        } else {
            out += text[i];
        }
    }
    return out;
}

inline std::string random_uuid()
{
    thread_local std::mt19937_64 random{std::random_device{}()};
    const std::uint64_t high = (random() & ~0xf000ULL) | 0x4000ULL;
    const std::uint64_t low = (random() & ~(3ULL << 62)) | (2ULL << 62);
    std::array<char, 40> out{};
    std::snprintf(out.data(), out.size(), "%08x-%04x-%04x-%04x-%012llx", static_cast<unsigned>(high >> 32),
                  static_cast<unsigned>(high >> 16) & 0xffffU, static_cast<unsigned>(high) & 0xffffU,
                  static_cast<unsigned>(low >> 48), static_cast<unsigned long long>(low & 0xffffffffffffULL));
    return out.data();
}

}  // namespace testhub
