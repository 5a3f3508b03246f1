#include "postgres/boundary.hpp"

#include "postgres/user_error.hpp"
#include "postgres/pg.hpp"

namespace reconciler {

namespace {

struct Call {
  void (*fn)(void*);
  void* arg;
  std::exception_ptr thrown;
};

// A C++ exception must not unwind through a frame that holds a jump buffer: it is carried over as a value.
void invoke(void* p) {
  auto* call = static_cast<Call*>(p);
  try {
    call->fn(call->arg);
  } catch (...) {
    call->thrown = std::current_exception();
  }
}

// The frame that an error comes back to. It is a function of its own, never inlined, and holds nothing but plain
// pointers, so that it lies deeper than every C++ object of the caller and returning here skips no destructor of
// theirs. Returns whether fn ended by itself.
[[gnu::noinline]] bool run_under_jump_buffer(void (*fn)(void*), void* arg) {
  sigjmp_buf* const outer_stack = PG_exception_stack;
  ErrorContextCallback* const outer_context = error_context_stack;
  sigjmp_buf here;
  if (sigsetjmp(here, 0) == 0) {
    PG_exception_stack = &here;
    fn(arg);
    PG_exception_stack = outer_stack;
    error_context_stack = outer_context;
    return true;
  }
  PG_exception_stack = outer_stack;
  error_context_stack = outer_context;
  return false;
}

void copy_error(void* p) {
  *static_cast<ErrorData**>(p) = CopyErrorData();
}

std::string text_or_empty(const char* s) { return s ? s : ""; }

void set_state(PostgresError& error, int code) {
  error.code = code;
  for (int i = 0; i < 5; ++i, code >>= 6) error.sqlstate[i] = static_cast<char>(PGUNSIXBIT(code));
}

// Both have one SQLSTATE; the message's id is what stands in the source, in whatever language the message is.
PostgresError::Interrupt interrupt_of(const ErrorData* data) {
  const std::string_view id = data->sqlerrcode == ERRCODE_QUERY_CANCELED && data->message_id ? data->message_id : "";
  if (id == "canceling statement due to user request") return PostgresError::Interrupt::cancel;
  if (id == "canceling statement due to statement timeout") return PostgresError::Interrupt::statement_timeout;
  return PostgresError::Interrupt::none;
}

// The error as the server has it, taken out of the server and cleared there.
PostgresError take_error(MemoryContext context) {
  MemoryContextSwitchTo(context);
  ErrorData* data = nullptr;
  const bool copied = run_under_jump_buffer(copy_error, &data);
  MemoryContextSwitchTo(context);
  FlushErrorState();
  if (!copied || data == nullptr) return PostgresError(ERRCODE_OUT_OF_MEMORY, "out of memory");
  PostgresError error(data->sqlerrcode, text_or_empty(data->message), text_or_empty(data->detail),
                      text_or_empty(data->hint));
  error.context = text_or_empty(data->context);
  error.interrupt = interrupt_of(data);
  FreeErrorData(data);
  return error;
}

}  // namespace

PostgresError::PostgresError(int code, std::string message, std::string detail, std::string hint)
    : message(std::move(message)), detail(std::move(detail)), hint(std::move(hint)) {
  set_state(*this, code);
}

ExtensionMissing::ExtensionMissing()
    : PostgresError(ERRCODE_UNDEFINED_OBJECT, "extension \"session_reconciler\" does not exist") {}

void detail::run_guarded(void (*fn)(void*), void* arg) {
  const MemoryContext context = CurrentMemoryContext;
  Call call{fn, arg, nullptr};
  if (!run_under_jump_buffer(invoke, &call)) throw take_error(context);
  if (call.thrown) std::rethrow_exception(call.thrown);
}

namespace {

// ereport() itself may fail (no memory): then the line is lost, not the process.
void emit(int level, int code, const char* message, const char* detail, const char* hint) noexcept {
  try {
    guarded([&] {
      ereport(level, (errcode(code), errmsg_internal("%s", message), *detail ? errdetail_internal("%s", detail) : 0,
                      *hint ? errhint("%s", hint) : 0, errhidestmt(true), errhidecontext(true)));
    });
  } catch (...) {
  }
}

int elevel(LogLevel level) { return level == LogLevel::warning ? WARNING : LOG; }

}  // namespace

void report(LogLevel level, const std::string& what, const std::exception& error) noexcept {
  try {
    if (auto* pg = dynamic_cast<const PostgresError*>(&error)) {
      const std::string detail = pg->context.empty() ? pg->detail
                                 : pg->detail.empty() ? pg->context
                                                      : pg->detail + "\n" + pg->context;
      emit(elevel(level), pg->code, (what + ": " + pg->message).c_str(), detail.c_str(), pg->hint.c_str());
    } else if (auto* user = dynamic_cast<const UserError*>(&error)) {
      const std::string& s = user->sqlstate;
      const int code = s.size() == 5 ? MAKE_SQLSTATE(s[0], s[1], s[2], s[3], s[4]) : ERRCODE_INTERNAL_ERROR;
      emit(elevel(level), code, (what + ": " + user->what()).c_str(), user->detail.c_str(), user->hint.c_str());
    } else if (dynamic_cast<const std::bad_alloc*>(&error)) {
      emit(elevel(level), ERRCODE_OUT_OF_MEMORY, (what + ": out of memory").c_str(), "", "");
    } else {
      emit(elevel(level), ERRCODE_INTERNAL_ERROR, (what + ": " + error.what()).c_str(), "", "");
    }
  } catch (...) {
    emit(elevel(level), ERRCODE_OUT_OF_MEMORY, "out of memory while reporting an error", "", "");
  }
}

void report(LogLevel level, const std::string& message, const std::string& detail, const std::string& hint) noexcept {
  emit(elevel(level), level == LogLevel::warning ? ERRCODE_WARNING : ERRCODE_SUCCESSFUL_COMPLETION, message.c_str(),
       detail.c_str(), hint.c_str());
}

void notice(const std::string& message, const std::string& hint) {
  guarded([&] { ereport(NOTICE, (errmsg_internal("%s", message.c_str()), hint.empty() ? 0 : errhint("%s", hint.c_str()))); });
}

void warn_client(const std::string& message, const std::string& hint) {
  guarded([&] { ereport(WARNING, (errmsg_internal("%s", message.c_str()), hint.empty() ? 0 : errhint("%s", hint.c_str()))); });
}

}  // namespace reconciler
