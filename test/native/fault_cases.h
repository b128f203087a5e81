// SPDX-License-Identifier: MIT
// Runs the courses again and again, each time in a process of its own in which another call
// fails. First each course runs undisturbed: that lists the calls there are.
//
//   PG_GATEWAY_FAULTS=all     each call with each of its errors (of a call that comes often, 40 of
//                             its times); else each error of each call once, at a random time
//   PG_GATEWAY_FAULT_SEED=n   the random times of that seed
//   PG_GATEWAY_FAULT=course: call,errno,nth   this case alone
//
// Nothing here asserts.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "fault_courses.h"
#include "fault_points.h"

namespace pg_gateway::test {

class FaultCases {
 public:
  struct Figures {
    std::uint64_t cases = 0;
    std::uint64_t struck = 0;  // in the others the call did not come so often this time
    std::uint64_t passed = 0;
    std::uint64_t lost = 0;     // cost a session
    std::uint64_t refused = 0;  // cost an attempt to start
  };

  // As the environment says.
  void try_them();

  const Figures& figures() const { return figures_; }
  // Which cases, for who reads of a failure.
  const std::string& chosen() const { return chosen_; }
  // What went wrong, and how to repeat it.
  const std::vector<std::string>& failures() const { return failures_; }

 private:
  struct Case {
    std::size_t course = 0;
    Fault fault;
  };
  struct Outcome;
  class Runner;

  // False: a course fails by itself.
  bool list_calls();
  std::vector<Case> all_cases() const;
  std::vector<Case> sample(std::uint64_t seed) const;
  void run(const std::vector<Case>& cases);
  void judge(const Case& tried, const Outcome& outcome, int status);
  void fail(const std::string& what);

  // By course: how often each call is made.
  std::vector<std::map<std::string, unsigned>> calls_;
  std::vector<std::uint64_t> totals_;
  Figures figures_;
  std::string chosen_;
  std::vector<std::string> failures_;
};

}  // namespace pg_gateway::test
