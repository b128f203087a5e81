// SPDX-License-Identifier: MIT
// Many sessions side by side through one engine, each with a life of its own (interleaving.h),
// while the route moves, sessions are cut, the settings change, and the engine is replaced by the
// next, which goes on with them. A seed decides all of it but the order of what threads do.
//
// Nothing here asserts.
#pragma once

#include <cstdint>
#include <string>

namespace pg_gateway::test {

struct InterleavingCounts {
  std::uint64_t sessions = 0;
  std::uint64_t welcomed = 0;  // by a server, as far as the client has seen
  std::uint64_t resets = 0;    // by the client
  std::uint64_t cuts = 0;      // decisions that cut sessions
  std::uint64_t engines = 0;
  std::uint64_t bytes = 0;

  void add(const InterleavingCounts& other);
};

// So many sessions by this seed. The text of what went wrong, or nothing.
std::string run_interleavings(std::uint64_t seed, std::uint32_t sessions,
                              InterleavingCounts& counts);

}  // namespace pg_gateway::test
