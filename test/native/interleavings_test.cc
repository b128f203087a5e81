// SPDX-License-Identifier: MIT
// Sessions by random scripts, through engines that are replaced under them. A few of them here;
// `npm run fuzz -- --only sessions` has as many as one likes.
//
//   PG_GATEWAY_FUZZ_SEED=n   the batches from that seed on
//   PG_GATEWAY_FUZZ_CASES=n  so many batches
#include <doctest/doctest.h>

#include <cstdlib>
#include <random>
#include <string>

#include "interleavings.h"
#include "support.h"

namespace pg_gateway {

namespace {

constexpr std::uint32_t kInABatch = 60;
constexpr std::uint64_t kBatches = 12;

std::uint64_t number(const char* name, std::uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? std::stoull(value) : otherwise;
}

}  // namespace

TEST_CASE("whatever client, server and route do, each gets the other's bytes and their end") {
  const std::uint64_t seed = number("PG_GATEWAY_FUZZ_SEED", std::random_device()());
  const std::size_t fds_before = test::open_fds().size();
  test::InterleavingCounts counts;
  const std::uint64_t batches = number("PG_GATEWAY_FUZZ_CASES", kBatches);
  for (std::uint64_t i = 0; i < batches; ++i) {
    INFO("PG_GATEWAY_FUZZ_SEED=" << seed + i);
    const std::string problem = test::run_interleavings(seed + i, kInABatch, counts);
    REQUIRE(problem == "");
  }
  CHECK(counts.sessions == batches * kInABatch);
  CHECK(counts.welcomed > 0);
  CHECK(counts.bytes > 0);
  CHECK(test::open_fds().size() == fds_before);
}

}  // namespace pg_gateway
