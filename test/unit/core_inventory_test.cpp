// Which lists of all that is there are believed.
#include <gtest/gtest.h>

#include "core/inventory.hpp"
#include "support/core_world.hpp"

using namespace core_world;

namespace {

std::set<std::string> pods(int from, int to) {
  std::set<std::string> all;
  for (int i = from; i < to; ++i) all.insert("pod-" + std::to_string(i));
  return all;
}
ListedAs judged(const std::set<std::string>& subjects, const std::optional<ListedBefore>& last = {}, Time as_of = noon) { return judge_inventory(true, as_of, subjects, last).as; }

}  // namespace

TEST(Inventory, TheFirstOneIsBelievedUnlessItIsEmpty) {
  EXPECT_EQ(judged(pods(0, 1)), ListedAs::accepted);
  EXPECT_EQ(judged({}), ListedAs::rejected);
}

TEST(Inventory, OneThatIsNotCompleteIsNeverRejected) {
  EXPECT_EQ(judge_inventory(false, noon, {}, {}).as, ListedAs::incomplete);
  EXPECT_EQ(judge_inventory(false, ago(hours(1)), {}, ListedBefore{noon, pods(0, 9)}).as, ListedAs::incomplete);
}

TEST(Inventory, HalfMayBeLackingAndNoMore) {
  const ListedBefore last{ago(minutes(1)), pods(0, 10)};
  EXPECT_EQ(judged(pods(5, 10), last), ListedAs::accepted);
  EXPECT_EQ(judged(pods(6, 10), last), ListedAs::rejected);
  EXPECT_EQ(judged(pods(6, 100), last), ListedAs::rejected) << "others don't make up for them";
  EXPECT_EQ(judged({}, last), ListedAs::rejected);
  EXPECT_EQ(judged({}, ListedBefore{ago(minutes(1)), {}}), ListedAs::accepted) << "nothing was there before";
}

TEST(Inventory, AnOlderOneIsRejected) {
  const ListedBefore last{noon, pods(0, 10)};
  EXPECT_EQ(judged(pods(0, 10), last, noon - tick), ListedAs::rejected);
  EXPECT_EQ(judged(pods(0, 10), last, noon + tick), ListedAs::accepted);
}
