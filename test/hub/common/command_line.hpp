// A command line of long options: `--name value`, `--name=value` or, for a switch, `--name`.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace testhub {

struct Option {
    std::string_view name;   // without the dashes
    std::string_view value;  // what the usage line calls the value; empty for a switch
    std::string_view help;
};

class CommandLine {
public:
    // Throws std::invalid_argument for an unknown option or a missing value; prints the usage and exits on --help.
    CommandLine(int argc, char** argv, std::vector<Option> options) : options_(std::move(options))
    {
        for (int i = 1; i < argc; ++i) {
            std::string_view word = argv[i];
            if (word == "--help") {
                print_usage(argv[0]);
                std::exit(0);
            }
            if (word.substr(0, 2) != "--") throw std::invalid_argument("unexpected argument: " + std::string(word));
            word.remove_prefix(2);
            const auto equals = word.find('=');
            const Option& option = find(word.substr(0, equals));
            if (option.value.empty())
                values_.emplace(option.name, "true");
            else if (equals != std::string_view::npos)
                values_.emplace(option.name, word.substr(equals + 1));
            else if (++i < argc)
                values_.emplace(option.name, argv[i]);
            else
                throw std::invalid_argument("--" + std::string(option.name) + " needs a value");
        }
    }

    bool has(std::string_view name) const { return values_.find(name) != values_.end(); }

    // The last one given wins, so that a script can append an override.
    std::string text(std::string_view name, std::string fallback = {}) const
    {
        const auto [first, last] = values_.equal_range(name);
        return first == last ? std::move(fallback) : std::prev(last)->second;
    }

    double number(std::string_view name, double fallback) const
    {
        if (!has(name)) return fallback;
        const std::string value = text(name);
        std::size_t used = 0;
        double result = 0;
        try {
            result = std::stod(value, &used);
        } catch (const std::exception&) {
            used = 0;
        }
        if (used == 0 || used != value.size())
            throw std::invalid_argument("--" + std::string(name) + " needs a number, got \"" + value + "\"");
        return result;
    }

    bool truth(std::string_view name, bool fallback) const
    {
        if (!has(name)) return fallback;
        const std::string value = text(name);
        if (value == "true" || value == "on" || value == "yes" || value == "1") return true;
        if (value == "false" || value == "off" || value == "no" || value == "0") return false;
        throw std::invalid_argument("--" + std::string(name) + " needs true or false, got \"" + value + "\"");
    }

    // One of the given words.
    std::string choice(std::string_view name, std::string fallback, const std::vector<std::string>& allowed) const
    {
        const std::string value = text(name, std::move(fallback));
        std::string list;
        for (const auto& word : allowed) {
            if (word == value) return value;
            list += (list.empty() ? "" : ", ") + word;
        }
        throw std::invalid_argument("--" + std::string(name) + " must be one of: " + list);
    }

    std::vector<std::string> all(std::string_view name) const
    {
        std::vector<std::string> result;
        const auto [first, last] = values_.equal_range(name);
        for (auto it = first; it != last; ++it) result.push_back(it->second);
        return result;
    }

private:
    const Option& find(std::string_view name) const
    {
        for (const auto& option : options_)
            if (option.name == name) return option;
        throw std::invalid_argument("unknown option --" + std::string(name) + " (see --help)");
    }

    void print_usage(const char* program) const
    {
        std::printf("usage: %s [options]\n", program);
        for (const auto& option : options_) {
            const std::string left = std::string(option.name) + " " + std::string(option.value);
            std::printf("  --%-32s %.*s\n", left.c_str(), static_cast<int>(option.help.size()), option.help.data());
        }
    }

    std::vector<Option> options_;
    std::multimap<std::string, std::string, std::less<>> values_;
};

}  // namespace testhub
