// SPDX-License-Identifier: MIT
// The reasons' names on the other side, in the order of the enumerations in counters.h:
// those of src/dataplane-stats.ts.
#pragma once

#include <array>
#include <cstddef>

#include "counters.h"

namespace pg_gateway {

inline constexpr std::array<const char*, 9> kRejectReasons = {
    "no_primary",       "connect_failed",      "too_many_held",
    "too_many_clients", "too_many_per_client", "gave_up",
    "startup",          "resources",           "killed"};
inline constexpr std::array<const char*, 5> kCutReasons = {"demoted", "superseded", "lost",
                                                           "shutdown", "killed"};
inline constexpr std::array<const char*, 5> kEndReasons = {
    "client_closed", "backend_closed", "client_reset", "backend_reset", "resources"};
inline constexpr std::array<const char*, 4> kConnectFailures = {"refused", "timeout", "unreachable",
                                                                "other"};
static_assert(kRejectReasons.size() == static_cast<std::size_t>(RejectReason::kCount));
static_assert(kCutReasons.size() == static_cast<std::size_t>(CutReason::kCount));
static_assert(kEndReasons.size() == static_cast<std::size_t>(EndReason::kCount));
static_assert(kConnectFailures.size() == static_cast<std::size_t>(ConnectFailure::kCount));

}  // namespace pg_gateway
