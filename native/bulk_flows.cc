// SPDX-License-Identifier: MIT
#include "bulk_flows.h"

#include <sys/socket.h>

#include <algorithm>

namespace pg_gateway {

void BulkFlows::touch(SessionRef session, Side source, std::int64_t now_ns, bool was_read) {
  const std::int64_t due_ns = now_ns + kPatienceNs;
  for (Flow& flow : flows_) {
    if (flow.session.slot != session.slot || flow.source != source) continue;
    if (was_read || flow.session.generation != session.generation) flow = {session, source, due_ns};
    return;
  }
  flows_.push_back({session, source, due_ns});
}

std::int64_t BulkFlows::next_ns() const {
  std::int64_t next = std::numeric_limits<std::int64_t>::max();
  for (const Flow& flow : flows_) next = std::min(next, flow.due_ns);
  return next;
}

std::vector<BulkFlows::Flow> BulkFlows::take_due(std::int64_t now_ns) {
  const auto due = std::partition(flows_.begin(), flows_.end(),
                                  [now_ns](const Flow& flow) { return flow.due_ns > now_ns; });
  std::vector<Flow> taken(due, flows_.end());
  flows_.erase(due, flows_.end());
  return taken;
}

bool set_low_water(int socket, int bytes) {
  return ::setsockopt(socket, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes) == 0;
}

}  // namespace pg_gateway
