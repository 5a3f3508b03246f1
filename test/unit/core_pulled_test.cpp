// Commands that agents fetch: whether one still stands, and what a report about it is worth.
#include <gtest/gtest.h>

#include "core/pulled.hpp"

using namespace reconciler;

namespace {

const QueuedCommand stop{.sent_to = "a", .state = "terminating", .agent = "a", .runtime = "pod-1", .created = "t0"};

Session row() {
  Session session;
  session.state = "terminating", session.agent = "a", session.runtime = "pod-1", session.created = "t0";
  return session;
}
std::string after(void (*change)(Session&)) {
  Session session = row();
  change(session);
  return overtaken_by(stop, session);
}

}  // namespace

TEST(Pulled, ACommandStandsWhileItsSessionIsWhatItWas) {
  EXPECT_EQ(overtaken_by(stop, row()), "");
  EXPECT_EQ(overtaken_by(stop, std::nullopt), "the session is no more");
  EXPECT_EQ(after([](Session& s) { s.state = "terminated"; }), "the session is terminated by now");
  EXPECT_EQ(after([](Session& s) { s.agent = "b"; }), "agent \"b\" has the session by now");
  EXPECT_EQ(after([](Session& s) { s.agent.reset(); }), "the session names no agent any more");
  EXPECT_EQ(after([](Session& s) { s.runtime = "pod-2"; }), "the session is another one by now");
  EXPECT_EQ(after([](Session& s) { s.runtime.reset(); }), "the session is another one by now");
  EXPECT_EQ(after([](Session& s) { s.created = "t1"; }), "the session is another one by now");
}

TEST(Pulled, OneForAnotherAgentOfThePoolStandsBeforeAndAfterTheSessionIsGivenToIt) {
  QueuedCommand moved = stop;
  moved.sent_to = "b";
  Session session = row();
  EXPECT_EQ(overtaken_by(moved, session), "");
  session.agent = "b";
  EXPECT_EQ(overtaken_by(moved, session), "");
  session.agent = "c";
  EXPECT_EQ(overtaken_by(moved, session), "agent \"c\" has the session by now");
}

TEST(Pulled, AReportIsNewsOnceAndContradictsWhatHasEnded) {
  for (const char* open : {"queued", "leased"})
    for (const char* outcome : {"accepted", "completed", "failed"}) EXPECT_EQ(worth_of_report(open, "", outcome), ReportWorth::news);
  EXPECT_EQ(worth_of_report("accepted", "accepted", "completed"), ReportWorth::news);
  for (const char* outcome : {"accepted", "completed", "failed"}) EXPECT_EQ(worth_of_report(outcome, outcome, outcome), ReportWorth::repeated);
  EXPECT_EQ(worth_of_report("completed", "completed", "failed"), ReportWorth::late);
  EXPECT_EQ(worth_of_report("failed", "failed", "completed"), ReportWorth::late);
  EXPECT_EQ(worth_of_report("completed", "completed", "accepted"), ReportWorth::repeated);
}

TEST(Pulled, OfAWithdrawnCommandEveryReportIsLateAndToldOnce) {
  for (const char* outcome : {"accepted", "completed", "failed"}) {
    EXPECT_EQ(worth_of_report("withdrawn", "", outcome), ReportWorth::late);
    EXPECT_EQ(worth_of_report("withdrawn", outcome, outcome), ReportWorth::repeated);
  }
}
