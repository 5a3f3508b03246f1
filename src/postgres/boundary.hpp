// Where C++ meets the server. An ereport(ERROR) is a longjmp and must never skip a C++ destructor; a C++
// exception must never reach C. Two doors, nothing else:
//
//   guarded(fn)   C++ -> server. Every call of the server that may raise goes through it. An error comes out as
//                 one PostgresError, thrown after the server's error state was copied and cleared. It rolls
//                 nothing back: until the (sub)transaction has been aborted no other guarded call is allowed but
//                 that abort. transaction.hpp does it.
//   sql_entry     server -> C++ (sql_entry.hpp).
//
// Rule for the callable: it may write to what it captured by reference (strings, vectors of the caller), but its
// own locals, and those of anything it calls that calls the server, are trivially destructible: an error jumps
// over them. It may throw C++ exceptions itself, outside of server frames; they arrive unchanged.
#pragma once

#include <exception>
#include <string>
#include <type_traits>

namespace reconciler {

// "21000" as errcode() takes it: six bits a character, as MAKE_SQLSTATE of elog.h.
constexpr int sqlstate_code(const char (&state)[6]) {
  int code = 0;
  for (int i = 0; i < 5; ++i) code |= ((state[i] - '0') & 0x3F) << (6 * i);
  return code;
}

// An error of the server as a value. Texts are in the server's encoding.
class PostgresError : public std::exception {
 public:
  int code = 0;          // as errcode() takes it: ERRCODE_...
  char sqlstate[6] = ""; // the same in five characters
  std::string message, detail, hint, context;

  PostgresError(int code, std::string message, std::string detail = {}, std::string hint = {});
  const char* what() const noexcept override { return message.c_str(); }
  bool is(const char* state) const { return std::string(sqlstate) == state; }  // is("55P03")
  // Of the server itself: a trigger may raise 57014 too, and is neither.
  enum class Interrupt { none, cancel, statement_timeout } interrupt = Interrupt::none;
  bool cancelled() const { return interrupt != Interrupt::none; }  // a person's cancel, or statement_timeout
  bool timed_out() const { return interrupt == Interrupt::statement_timeout; }
};

// The extension is not there (any more): DROP EXTENSION won, or it was never created.
class ExtensionMissing : public PostgresError {
 public:
  ExtensionMissing();
};

namespace detail {
// Runs fn(arg) under a jump buffer of its own. Throws PostgresError, or what fn threw.
void run_guarded(void (*fn)(void*), void* arg);
}

template <class Fn>
auto guarded(Fn&& fn) -> std::invoke_result_t<Fn&> {
  using Result = std::invoke_result_t<Fn&>;
  if constexpr (std::is_void_v<Result>) {
    detail::run_guarded([](void* p) { (*static_cast<std::remove_reference_t<Fn>*>(p))(); },
                        const_cast<void*>(static_cast<const void*>(&fn)));
  } else {
    static_assert(std::is_trivially_destructible_v<Result> && std::is_default_constructible_v<Result>,
                  "an error would jump over its destructor: capture the result by reference instead");
    struct State { std::remove_reference_t<Fn>* fn; Result result; } state{&fn, Result()};
    detail::run_guarded([](void* p) { auto* s = static_cast<State*>(p); s->result = (*s->fn)(); }, &state);
    return state.result;
  }
}

// Writes an exception to the server log: PostgresError with its SQLSTATE, detail and hint. `what` says what was
// being done ("pass over public.sessions"). Never throws. Level: LOG or WARNING, as elog.h has them.
enum class LogLevel { log, warning };
void report(LogLevel, const std::string& what, const std::exception&) noexcept;
void report(LogLevel, const std::string& message, const std::string& detail = {}, const std::string& hint = {}) noexcept;
// The same to the client of this backend (NOTICE, WARNING): not for the worker.
void notice(const std::string& message, const std::string& hint = {});
void warn_client(const std::string& message, const std::string& hint = {});

}  // namespace reconciler
