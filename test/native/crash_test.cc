// SPDX-License-Identifier: MIT
// Sessions outlive the gateway process, wherever it is killed: before and after every system
// call that it makes for a session, in the course of a session's life, of a planned stop and
// of recovery itself.
//
// There are thousands of such steps: a run takes a sample of them, another with each seed.
//   PG_GATEWAY_CRASH_SEED=n   the sample of that seed
//   PG_GATEWAY_CRASH_STEPS=n  so many of them; "all": every step
//   PG_GATEWAY_CRASH_AT=n,m   only that the first process dies at step n, the second at m
#include <doctest/doctest.h>

#include <cstdlib>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "crash_rig.h"

using namespace pg_gateway;
using test::Conversation;
using test::CrashRig;

namespace {

constexpr std::uint64_t kSample = 400;
constexpr int kRandomKills = 200;
constexpr std::uint64_t kLongestLifeNs = 15'000'000;
constexpr int kMostFailures = 3;
// A process that recovers is busy with that for at least so many steps.
constexpr std::uint64_t kStepsOfRecovery = 300;

using Kills = std::vector<std::uint64_t>;

// What may be left when all sessions are over: idle pipes, and what has died behind one and is not
// worth moving it for (parking_lot.cc, kMinDead).
constexpr std::size_t kMostIdle = PipePool::kMaxIdle;
constexpr std::size_t kMostDead = 16;

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

// Once all are over nothing is left of them. The text of what is, or nothing.
std::string look_for_leftovers(CrashRig& rig, unsigned workers = 1) {
  CrashRig::Answer answer;
  const std::size_t idle = workers * kMostIdle;
  const bool clean = rig.run("nothing left", [&] {
    return rig.ask(answer) && answer.usage.sessions == 0 && answer.usage.segments <= idle + 1 &&
           answer.usage.messages <= idle * (1 + kMostDead);
  });
  if (!clean) {
    return rig.fault() + " left: " + std::to_string(answer.usage.sessions) + " sessions, " +
           std::to_string(answer.usage.messages) + " messages, " +
           std::to_string(answer.usage.segments) + " segments";
  }
  if (answer.usage.failures != 0) return "not parked";
  if (answer.not_whole != 0) return "not whole";
  // The ledger and both ends of each segment.
  if (rig.manager().stored().size() != 1 + 2 * answer.usage.segments) {
    return std::to_string(rig.manager().stored().size()) + " descriptors stored";
  }
  return "";
}

std::string text_of(const Kills& kills) {
  std::string text;
  for (const std::uint64_t step : kills) text += (text.empty() ? "" : ",") + std::to_string(step);
  return text;
}

bool survives(test::StepBoard& board, const Kills& kills) {
  CrashRig rig(board, kills);
  std::string problem = live_through(rig);
  if (problem.empty()) problem = look_for_leftovers(rig);
  if (problem.empty()) return true;
  FAIL_CHECK("PG_GATEWAY_CRASH_AT=" << text_of(kills) << ": " << problem);
  return false;
}

const char* setting(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

Kills parse(const std::string& list) {
  Kills kills;
  std::istringstream words(list);
  for (std::string word; std::getline(words, word, ',');) kills.push_back(std::stoull(word));
  return kills;
}

}  // namespace

TEST_CASE("killed before or after any system call, no session is lost or damaged" *
          doctest::skip(!test::kCountsSteps)) {
  test::StepBoard& board = test::make_step_board();
  if (const std::string at = setting("PG_GATEWAY_CRASH_AT"); !at.empty()) {
    CHECK(survives(board, parse(at)));
    return;
  }
  std::vector<std::uint64_t> steps;
  {
    CrashRig undisturbed(board);
    REQUIRE(live_through(undisturbed) == "");
    REQUIRE(look_for_leftovers(undisturbed) == "");
    steps = undisturbed.steps();
  }
  // A kill in the first process (a third of the cases with another one while the next recovers),
  // or one in the second, which recovers what a planned stop has left.
  const std::string wanted = setting("PG_GATEWAY_CRASH_STEPS");
  const std::uint64_t total = steps[0] + steps[1];
  const std::uint64_t count = wanted.empty()    ? kSample
                              : wanted == "all" ? total
                                                : std::stoull(wanted);
  const std::string seed_text = setting("PG_GATEWAY_CRASH_SEED");
  const std::uint64_t seed = seed_text.empty() ? std::random_device()() : std::stoull(seed_text);
  MESSAGE(count << " of " << total << " steps, PG_GATEWAY_CRASH_SEED=" << seed);
  std::mt19937_64 random(seed);
  int failures = 0;
  for (std::uint64_t i = 0; i < count && failures < kMostFailures; ++i) {
    // One from each of `count` equal parts.
    const std::uint64_t from = i * total / count;
    const std::uint64_t to = (i + 1) * total / count;
    const std::uint64_t step = 1 + from + random() % (to - from);
    Kills kills = {step};
    if (step > steps[0]) {
      kills = {0, step - steps[0]};
    } else if (random() % 3 == 0) {
      kills.push_back(1 + random() % kStepsOfRecovery);
    }
    if (!survives(board, kills)) ++failures;
  }
}

TEST_CASE("killed at random moments under load, again and again" *
          doctest::skip(!test::kCountsSteps)) {
  const std::string seed_text = setting("PG_GATEWAY_CRASH_SEED");
  const std::uint64_t seed = seed_text.empty() ? std::random_device()() : std::stoull(seed_text);
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
  CHECK(look_for_leftovers(rig, workers) == "");
}
