// SPDX-License-Identifier: MIT
// Kills the gateway at steps of a course of events, one after the other.
//
// There are thousands of such steps: a run takes a sample of them, another with each seed.
//   PG_GATEWAY_CRASH_SEED=n   the sample of that seed
//   PG_GATEWAY_CRASH_STEPS=n  so many of them; "all": every step
//   PG_GATEWAY_CRASH_AT=n,m   only that the first process dies at step n, the second at m
//
// Nothing here asserts.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "crash_rig.h"

namespace pg_gateway::test {

// The text of what went wrong, or nothing.
using Course = std::function<std::string(CrashRig&)>;

struct CrashCases {
  Course course;
  Settings settings = {};
  std::uint64_t sample = 400;

  // How many and which, for who reads of a failure.
  std::string chosen = {};
  std::vector<std::string> failures = {};

  void try_them();

 private:
  bool survives(StepBoard& board, const std::vector<std::uint64_t>& kills);
};

std::uint64_t crash_seed();

// Once all sessions of a rig are over nothing is left of them. The text of what is, or nothing.
std::string look_for_leftovers(CrashRig& rig, unsigned workers = 1);

}  // namespace pg_gateway::test
