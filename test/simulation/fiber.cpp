#include "simulation/fiber.hpp"

#include <cstdint>
#include <utility>
#include <vector>

namespace reconciler::simulation {
namespace {

constexpr std::size_t stack_size = 512 * 1024;

// Stacks are used again: a world has hundreds of passes, one after the other.
std::vector<std::unique_ptr<char[]>>& spare_stacks() {
  static std::vector<std::unique_ptr<char[]>> spare;
  return spare;
}

}  // namespace

Fiber::Fiber(std::function<void()> body) : body_(std::move(body)) {
  auto& spare = spare_stacks();
  if (spare.empty()) {
    stack_ = std::make_unique_for_overwrite<char[]>(stack_size);
  } else {
    stack_ = std::move(spare.back());
    spare.pop_back();
  }
  getcontext(&there_);
  there_.uc_stack.ss_sp = stack_.get(), there_.uc_stack.ss_size = stack_size;
  there_.uc_link = &here_;
  // makecontext() passes ints.
  const auto self = reinterpret_cast<std::uintptr_t>(this);
  makecontext(&there_, reinterpret_cast<void (*)()>(&Fiber::enter), 2, static_cast<unsigned>(self >> 32), static_cast<unsigned>(self));
}

Fiber::~Fiber() { spare_stacks().push_back(std::move(stack_)); }

void Fiber::enter(unsigned high, unsigned low) {
  reinterpret_cast<Fiber*>((static_cast<std::uintptr_t>(high) << 32) | low)->run();
}

void Fiber::run() {
  try {
    body_();
  } catch (...) {
    failure_ = std::current_exception();
  }
  ended_ = true;
}

void Fiber::resume() {
  swapcontext(&here_, &there_);
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void Fiber::pause() { swapcontext(&there_, &here_); }

}  // namespace reconciler::simulation
