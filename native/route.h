// SPDX-License-Identifier: MIT
// Where new sessions go, as the control plane decided it. The data plane compares
// epochs and never asks why.
//
// Owns nothing: plain values, copied to each worker.
#pragma once

#include <cstdint>
#include <optional>

#include "counters.h"
#include "socket_address.h"

namespace pg_gateway {

struct Route {
  // Grows with each new destination; sessions carry the epoch they were opened in.
  std::uint32_t epoch = 0;
  // Index below kMaxServers, for the counters.
  std::uint16_t server = 0;
  SocketAddress address;
};

// One decision, sent to every worker as one message.
struct RouteUpdate {
  // None: clients that come now are told that there is no primary.
  std::optional<Route> route;
  // Sessions of an epoch below this are cut at once.
  std::uint32_t cut_below_epoch = 0;
  CutReason cut_reason = CutReason::kSuperseded;
};

}  // namespace pg_gateway
