// SPDX-License-Identifier: MIT
// The first exchange of a session outlives the gateway process too, wherever it is killed: while
// clients are held, while a server has their startup message and has not answered, while it
// refuses, and while they are given another.
#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "crash_cases.h"
#include "pg_wire.h"

using namespace pg_gateway;
using test::Conversation;
using test::CrashRig;
using test::Introduction;
using test::Manner;

namespace {

constexpr std::uint64_t kSample = 200;

Settings patient() {
  Settings settings;
  settings.connect_timeout_ns = 60'000'000'000;
  settings.hold_timeout_ns = 60'000'000'000;
  return settings;
}

bool all_of(const std::vector<Conversation*>& all, bool (Conversation::*is)() const) {
  for (const Conversation* each : all) {
    if (!(each->*is)()) return false;
  }
  return true;
}

// Their startup messages have come to so many servers each.
bool all_reached(const std::vector<Conversation*>& all, std::uint32_t servers) {
  for (const Conversation* each : all) {
    if (!each->lost() && each->servers() < servers) return false;
  }
  return true;
}

// Who came first was connected first.
std::string check_order(const std::vector<Conversation*>& all) {
  std::uint64_t last = 0;
  for (const Conversation* each : all) {
    if (each->lost()) continue;
    if (each->first_place() < last) return each->text() + ": out of its turn";
    last = *each->first_place();
  }
  return "";
}

// Two servers that come to nothing, the first because its route is withdrawn.
std::vector<Manner> in_vain(Manner second) {
  return {Manner::kSilent, second};
}

// All that can happen before a session begins. The text of what went wrong, or nothing.
std::string begin_in_every_way(CrashRig& rig) {
  const std::vector<Conversation*> held = {
      &rig.open({.manners = in_vain(Manner::kRefuse)}),
      &rig.open({.requests = "S", .manners = in_vain(Manner::kReset)}),
      &rig.open({.requests = "GS", .manners = in_vain(Manner::kRefuseLate)}),
      &rig.open({.requests = "G",
                 .startup_bytes = kMaxStartupBytes,
                 .manners = in_vain(Manner::kHangUp)}),
      &rig.open({.startup_bytes = 5000, .manners = {Manner::kSilent}})};
  if (!rig.run_until_stuck()) return rig.fault();
  rig.open_route();
  if (!rig.run("silent servers", [&] { return all_reached(held, 1); })) return rig.fault();
  if (std::string problem = check_order(held); !problem.empty()) return problem;

  // To be held once more, some after they were told that there is no encryption.
  rig.withdraw_route();
  if (!rig.run_until_stuck() || !rig.restart() || !rig.run_until_stuck()) return rig.fault();
  rig.reset_requests(1);
  rig.open_route();
  Conversation& late = rig.open({.requests = "S", .manners = {Manner::kRefuse}});
  // With a server that resets it an AF_UNIX client is over: it asks for nothing.
  Conversation& local = rig.open_local(Introduction{});
  std::vector<Conversation*> all = held;
  all.insert(all.end(), {&late, &local});
  if (!rig.run("all are in", [&] { return all_of(all, &Conversation::introduced); })) {
    return rig.fault();
  }
  for (Conversation* each : all) each->exchange(5000);
  if (!rig.run("the first bytes", [&] { return all_of(all, &Conversation::delivered); })) {
    return rig.fault();
  }
  // Sessions like any other, also those that began with a server that was not theirs.
  if (!rig.restart()) return rig.fault();
  for (Conversation* each : all) each->exchange(5000);
  if (!rig.run("bytes after the stop", [&] { return all_of(all, &Conversation::delivered); })) {
    return rig.fault();
  }
  for (Conversation* each : all) each->finish();
  rig.run("the end", [&] { return all_of(all, &Conversation::over); });
  return rig.fault();
}

}  // namespace

TEST_CASE(
    "killed during the first exchange, each client gets its session with the one that takes it" *
    doctest::skip(!test::kCountsSteps)) {
  test::CrashCases cases{.course = begin_in_every_way, .settings = patient(), .sample = kSample};
  cases.try_them();
  MESSAGE(cases.chosen);
  for (const std::string& failure : cases.failures) FAIL_CHECK(failure);
}
