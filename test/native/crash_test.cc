// SPDX-License-Identifier: MIT
// Sessions outlive the gateway process, wherever it is killed: before and after every system
// call that it makes for a session, in the course of a session's life, of a planned stop and
// of recovery itself.
#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

#include "crash_cases.h"

using namespace pg_gateway;
using test::Conversation;
using test::CrashRig;

namespace {

constexpr int kRandomKills = 200;
constexpr std::uint64_t kLongestLifeNs = 15'000'000;

bool all_delivered(const std::vector<Conversation*>& all) {
  for (const Conversation* each : all) {
    if (!each->delivered()) return false;
  }
  return true;
}

// So many sessions come, exchange a little, and go: copies in the parking lot die, those of the
// sessions that stay have to move.
bool come_and_go(CrashRig& rig, int count) {
  for (int i = 0; i < count; ++i) {
    Conversation& brief = rig.open();
    brief.exchange(100);
    brief.finish();
    if (i % 4 == 0 && !rig.run("a brief session", [&] { return brief.over(); })) return false;
  }
  return true;
}

// A client that does not read and a server that does not: what is under way stays in the pipes.
bool fill_the_pipes(CrashRig& rig, const std::vector<Conversation*>& stuck) {
  for (Conversation* each : stuck) {
    each->up().reading = each->down().reading = false;
    each->exchange(1 << 20);
  }
  return rig.run_until_stuck();
}

// All that a session can go through. The text of what went wrong, or nothing.
std::string live_through(CrashRig& rig) {
  Conversation& lasting = rig.open();
  lasting.exchange(20'000);
  Conversation& stuck = rig.open();
  stuck.exchange(1000);
  Conversation& half = rig.open();
  half.exchange(1);
  Conversation& aborted = rig.open();
  aborted.exchange(10);
  Conversation& local = rig.open_local();
  local.exchange(1000);
  const std::vector<Conversation*> all = {&lasting, &stuck, &half, &aborted, &local};
  if (!rig.run("the first bytes", [&] { return all_delivered(all); })) return rig.fault();

  if (!fill_the_pipes(rig, {&stuck, &local}) || !come_and_go(rig, 40)) return rig.fault();
  half.up().finish = true;
  if (!rig.run("a half-close", [&] { return half.lost() || half.up().ended; })) return rig.fault();
  if (!rig.restart()) return rig.fault();

  Conversation& late = rig.open();
  late.exchange(3000);
  lasting.exchange(3000);
  half.down().goal += 5000;
  if (!rig.run("bytes after the stop", [&] { return all_delivered({&lasting, &half, &late}); })) {
    return rig.fault();
  }
  if (!aborted.lost()) aborted.reset();
  half.finish();
  for (Conversation* each : {&stuck, &local}) each->up().reading = each->down().reading = true;
  if (!rig.run("the rest", [&] {
        return all_delivered({&stuck, &local}) && half.over() && aborted.over();
      })) {
    return rig.fault();
  }
  for (Conversation* each : {&lasting, &stuck, &late, &local}) each->finish();
  rig.run("the end", [&] { return lasting.over() && stuck.over() && late.over() && local.over(); });
  return rig.fault();
}

}  // namespace

TEST_CASE("killed before or after any system call, no session is lost or damaged" *
          doctest::skip(!test::kCountsSteps)) {
  test::CrashCases cases{.course = live_through};
  cases.try_them();
  MESSAGE(cases.chosen);
  for (const std::string& failure : cases.failures) FAIL_CHECK(failure);
}

TEST_CASE("killed at random moments under load, again and again" *
          doctest::skip(!test::kCountsSteps)) {
  const std::uint64_t seed = test::crash_seed();
  INFO("PG_GATEWAY_CRASH_SEED=" << seed);
  std::mt19937_64 random(seed);
  unsigned workers = 1;
  SUBCASE("one worker") {}
  SUBCASE("three workers") {
    workers = 3;
  }
  CrashRig rig(test::make_step_board(), {}, workers);
  std::vector<Conversation*> all;
  for (int i = 0; i < 6; ++i) all.push_back(i % 2 == 0 ? &rig.open() : &rig.open_local());
  int kills = 0;
  std::int64_t next_kill = 0;
  // Always more to send: the pumps are running when the process dies.
  const bool survived = rig.run("all kills", [&] {
    for (Conversation* each : all) {
      if (each->delivered() && !each->over()) each->exchange(1 << 20);
    }
    if (monotonic_ns() < next_kill) return false;
    if (next_kill != 0) rig.kill_gateway();
    next_kill = monotonic_ns() + static_cast<std::int64_t>(random() % kLongestLifeNs);
    if (++kills % 8 == 0) all.push_back(&rig.open());
    return kills == kRandomKills;
  });
  CHECK_MESSAGE(survived, rig.fault());
  for (Conversation* each : all) each->finish();
  const bool over = rig.run("the end", [&] {
    for (const Conversation* each : all) {
      if (!each->over()) return false;
    }
    return true;
  });
  CHECK_MESSAGE(over, rig.fault());
  CHECK(test::look_for_leftovers(rig, workers) == "");
}
