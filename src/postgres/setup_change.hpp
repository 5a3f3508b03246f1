// Configuration written by our own functions. They write one event that says it all; the triggers of
// reconciler.policy, hub and binding, which note what a person edits by hand, keep still meanwhile.
#pragma once

namespace reconciler {

class OwnChange {
 public:
  OwnChange();
  ~OwnChange();
  OwnChange(const OwnChange&) = delete;
  OwnChange& operator=(const OwnChange&) = delete;
  static bool running();
};

}  // namespace reconciler
