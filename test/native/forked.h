// SPDX-License-Identifier: MIT
// Runs many cases in other processes, a batch in each, so that a crash is a failed case like
// any other.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace pg_gateway::test {

// Runs cases first .. first + count - 1. `run` returns what went wrong, or nothing; it may not
// use doctest. The text of the first failure with its case, or nothing.
std::string run_forked(std::uint64_t first, std::uint64_t count, std::uint64_t in_a_batch,
                       const std::function<std::string(std::uint64_t)>& run);

}  // namespace pg_gateway::test
