// SPDX-License-Identifier: MIT
#include "crash_cases.h"

#include <cstdlib>
#include <random>
#include <sstream>

namespace pg_gateway::test {

namespace {

constexpr std::size_t kMostFailures = 3;
// A process that recovers is busy with that for at least so many steps.
constexpr std::uint64_t kStepsOfRecovery = 300;

// What may be left when all sessions are over: idle pipes, and what has died behind one and is not
// worth moving it for (parking_lot.cc, kMinDead).
constexpr std::size_t kMostIdle = PipePool::kMaxIdle;
constexpr std::size_t kMostDead = 16;

using Kills = std::vector<std::uint64_t>;

const char* setting(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::string text_of(const Kills& kills) {
  std::string text;
  for (const std::uint64_t step : kills) text += (text.empty() ? "" : ",") + std::to_string(step);
  return text;
}

Kills parse(const std::string& list) {
  Kills kills;
  std::istringstream words(list);
  for (std::string word; std::getline(words, word, ',');) kills.push_back(std::stoull(word));
  return kills;
}

// The process that takes this step, of all that were taken, dies at it.
Kills kill_at(std::uint64_t step, const std::vector<std::uint64_t>& steps) {
  Kills kills;
  for (const std::uint64_t taken : steps) {
    if (step <= taken) break;
    step -= taken;
    kills.push_back(0);
  }
  kills.push_back(step);
  return kills;
}

}  // namespace

std::uint64_t crash_seed() {
  const std::string text = setting("PG_GATEWAY_CRASH_SEED");
  return text.empty() ? std::random_device()() : std::stoull(text);
}

std::string look_for_leftovers(CrashRig& rig, unsigned workers) {
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

bool CrashCases::survives(StepBoard& board, const Kills& kills) {
  CrashRig rig(board, kills, 1, settings);
  std::string problem = course(rig);
  if (problem.empty()) problem = look_for_leftovers(rig);
  if (!problem.empty())
    failures.push_back("PG_GATEWAY_CRASH_AT=" + text_of(kills) + ": " + problem);
  return problem.empty();
}

void CrashCases::try_them() {
  StepBoard& board = make_step_board();
  if (const std::string at = setting("PG_GATEWAY_CRASH_AT"); !at.empty()) {
    survives(board, parse(at));
    return;
  }
  std::vector<std::uint64_t> steps;
  {
    CrashRig undisturbed(board, {}, 1, settings);
    std::string problem = course(undisturbed);
    if (problem.empty()) problem = look_for_leftovers(undisturbed);
    if (!problem.empty()) return failures.push_back("without a kill: " + problem);
    steps = undisturbed.steps();
  }
  // The last process has nothing to leave but idle pipes once all is over.
  std::uint64_t total = 0;
  for (const std::uint64_t taken : steps) total += taken;
  const std::string wanted = setting("PG_GATEWAY_CRASH_STEPS");
  const std::uint64_t count = wanted.empty()    ? sample
                              : wanted == "all" ? total
                                                : std::stoull(wanted);
  const std::uint64_t seed = crash_seed();
  chosen = std::to_string(count) + " of " + std::to_string(total) +
           " steps, PG_GATEWAY_CRASH_SEED=" + std::to_string(seed);
  std::mt19937_64 random(seed);
  for (std::uint64_t i = 0; i < count && failures.size() < kMostFailures; ++i) {
    // One from each of `count` equal parts.
    const std::uint64_t from = i * total / count;
    const std::uint64_t to = (i + 1) * total / count;
    Kills kills = kill_at(1 + from + random() % (to - from), steps);
    // In a third of the cases the next process is killed too, while it recovers.
    if (random() % 3 == 0) kills.push_back(1 + random() % kStepsOfRecovery);
    survives(board, kills);
  }
}

}  // namespace pg_gateway::test
