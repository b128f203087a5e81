// SPDX-License-Identifier: MIT
// Kills a process of the tests at a chosen step. Every system call of the data plane is two
// steps, one before and one after it: the test executable defines these calls itself
// (system_calls.cc), so the core is the one that is shipped. What the core stores in the
// ledger between two calls lies between two steps.
//
// Not with ThreadSanitizer, which has to see these calls itself.
//
// Until arm_crash_point() the calls go to the kernel as they are. Any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "system_calls.h"

namespace pg_gateway::test {

inline constexpr bool kCountsSteps = kSeesSystemCalls;

// In memory that the tester shares with the process.
struct StepBoard {
  std::atomic<std::uint64_t> steps{0};  // taken by the present process
  std::atomic<bool> killed{false};      // it has reached the chosen step
  std::atomic<unsigned> unparked{0};    // clients that it has accepted and not parked yet
  std::array<char, 24> call{};          // where it was killed
};

// Shared with the processes that are forked later; never freed.
StepBoard& make_step_board();

// This process counts its steps from now on and dies by SIGKILL at step `at` (0: never). Its
// buffers become small, so that little fills them.
void arm_crash_point(StepBoard& board, std::uint64_t at);

}  // namespace pg_gateway::test
