// A thread inherits the signal mask of its creator. libcurl starts threads to resolve names, and a handler
// of the server that ran on one of them would touch state that is not thread safe (curl#8339). So every
// signal is blocked while libcurl may start one.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <initializer_list>

namespace reconciler::http {

class SignalsBlocked {
 public:
  SignalsBlocked() noexcept {
    sigset_t all;
    sigfillset(&all);
    // Faults of our own stay deliverable: blocked they would kill without a core handler or sanitizer report.
    for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS}) sigdelset(&all, fault);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

}  // namespace reconciler::http
