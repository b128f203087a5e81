// SPDX-License-Identifier: MIT
// Every system call of the data plane fails once, with each errno that it can give: the worst that
// comes of it is one session that is lost and counted, or one start that is refused by an error
// which names the call. Nobody else notices; nothing leaks, hangs or spins; new clients are served.
#include <doctest/doctest.h>

#include <cstdio>

#include "fault_cases.h"

using namespace pg_gateway;

namespace {

void report(const test::FaultCases& cases) {
  const test::FaultCases::Figures& figures = cases.figures();
  // Read by `npm run test:faults`.
  std::printf("faults: %lu cases, %lu struck, %lu passed; %lu cost a session, %lu a start\n",
              figures.cases, figures.struck, figures.passed, figures.lost, figures.refused);
  INFO(cases.chosen());
  CHECK(cases.failures().empty());
}

}  // namespace

TEST_CASE("a system call that fails costs one session at most" *
          doctest::skip(!test::kCallsCanFail)) {
  test::FaultCases cases;
  cases.try_them();
  report(cases);
  CHECK(cases.figures().struck > 0);
}
