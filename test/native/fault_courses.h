// SPDX-License-Identifier: MIT
// Fixed scripts of all that can happen to a data plane, in which each system call may fail once.
//
// Nothing here asserts.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "fault_rig.h"

namespace pg_gateway::test {

struct FaultCourse {
  std::string name;
  // What is wrong is told by the rig.
  std::function<void(FaultRig&)> run;
};

// The life of a session; how clients are given their servers; from one engine to the next.
const std::vector<FaultCourse>& fault_courses();

}  // namespace pg_gateway::test
