// A pass on a stack of its own: it runs until it pauses, and goes on when it is resumed. One thread, so that whoever
// resumes decides the order of everything.
#pragma once

#include <ucontext.h>

#include <exception>
#include <functional>
#include <memory>

namespace reconciler::simulation {

class Fiber {
 public:
  explicit Fiber(std::function<void()> body);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  void resume();       // until it pauses or has ended; what left its body is thrown here
  void pause();        // called from inside. Never in a handler of an exception: handlers are the thread's
  bool ended() const { return ended_; }

 private:
  static void enter(unsigned high, unsigned low);
  void run();

  std::function<void()> body_;
  std::unique_ptr<char[]> stack_;
  ucontext_t here_{}, there_{};
  std::exception_ptr failure_;
  bool ended_ = false;
};

}  // namespace reconciler::simulation
